// @ts-check
/** Finds nodes of ComfyUI's graph by the ids that its server uses. */

/**
 * What this pack uses of a node of the graph.
 *
 * @typedef {object} GraphNode
 * @property {string | number} id
 * @property {string} type
 * @property {string} [comfyClass]
 * @property {any} graph
 * @property {Graph} [subgraph]
 * @property {{ collapsed?: boolean }} flags
 * @property {[number, number]} size
 * @property {any[]} [widgets]
 * @property {(size: [number, number]) => void} setSize
 * @property {(name: string, type: string, element: HTMLElement, options: object) => any} addDOMWidget
 * @property {(widget: any) => void} removeWidget
 * @property {((data: { size: number[] }) => void)} [onSerialize]
 * @property {(() => void)} [onRemoved]
 * @property {((...data: any[]) => void)} [onAdded]
 * @property {((...data: any[]) => void)} [onResize]
 */

/**
 * @typedef {object} Graph
 * @property {string} id
 * @property {GraphNode[]} nodes
 * @property {(id: string | number) => GraphNode | null | undefined} getNodeById
 */

/**
 * The node with an id as the server knows it: "7:3" is node 3 inside the subgraph node 7.
 *
 * @param {Graph | null | undefined} root
 * @param {string} executionId
 * @returns {GraphNode | null}
 */
export function findNode(root, executionId) {
    let graph = root;
    let node = null;
    for (const id of executionId.split(":")) {
        node = graph?.getNodeById(id) ?? graph?.getNodeById(Number(id)) ?? null;
        if (!node) return null;
        graph = node.subgraph;
    }
    return node;
}

/**
 * Ids of the subgraph nodes around a node: "7" and "7:4" for "7:4:3".
 *
 * @param {string} executionId
 */
export function around(executionId) {
    const ids = executionId.split(":");
    return ids.slice(1).map((_, i) => ids.slice(0, i + 1).join(":"));
}

/** @param {GraphNode} node */
export function classOf(node) {
    return node.comfyClass ?? node.type;
}

/** @param {GraphNode} node */
export function isOurs(node) {
    return classOf(node).endsWith("ERKGuid");
}
