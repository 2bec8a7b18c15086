/** What js/ uses of ComfyUI's page, which exists only at run time. */

declare module "*/scripts/app.js" {
    export const app: {
        rootGraph: import("../../js/live/graph.js").Graph | undefined;
        /** The root graph, in pages older than subgraphs. */
        graph: import("../../js/live/graph.js").Graph | undefined;
        canvas: import("../../js/live/widget.js").Canvas;
        /** Whether a whole graph is being loaded. */
        configuringGraph: boolean;
        ui: {
            settings: {
                addEventListener(type: string, listener: (event: CustomEvent) => void): void;
                getSettingValue(id: string): unknown;
            };
        };
        registerExtension(extension: object): void;
    };
}

declare module "*/scripts/api.js" {
    export const api: {
        clientId: string | undefined;
        addEventListener(type: string, listener: (event: CustomEvent) => void): void;
        fetchApi(route: string, options?: RequestInit): Promise<Response>;
    };
}
