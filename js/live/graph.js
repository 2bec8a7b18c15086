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
 * @property {Slot[]} [inputs]
 * @property {(size: [number, number]) => void} setSize
 * @property {() => [number, number]} computeSize
 * @property {(name: string, type: string, element: HTMLElement, options: object) => any} addDOMWidget
 * @property {(widget: any) => void} removeWidget
 * @property {((data: { size: number[] }) => void)} [onSerialize]
 * @property {((data: { size?: number[] }) => void)} [onConfigure]
 * @property {((...data: any[]) => any)} [onConnectionsChange]
 * @property {(() => void)} [onRemoved]
 * @property {((...data: any[]) => void)} [onAdded]
 * @property {((...data: any[]) => void)} [onResize]
 */

/**
 * @typedef {object} Slot an input of a node
 * @property {string} name
 * @property {string} [label] as a person named it
 * @property {string} [localized_name]
 * @property {number | null} [link]
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
 * Every node of a graph and of the subgraphs in it.
 *
 * @param {Graph | null | undefined} graph
 * @returns {Generator<GraphNode>}
 */
export function* everyNode(graph) {
    for (const node of graph?.nodes ?? []) {
        yield node;
        yield* everyNode(node.subgraph);
    }
}

/**
 * The node that an input's link comes from.
 *
 * @param {GraphNode} node
 * @param {string} name of the input
 * @returns {GraphNode | null}
 */
export function originOf(node, name) {
    const id = node.inputs?.find((input) => input.name === name)?.link;
    const link = id == null ? null : linkOf(node.graph, id);
    return link ? (node.graph.getNodeById(link.origin_id) ?? null) : null;
}

/**
 * @param {any} graph
 * @param {number} id
 */
export function linkOf(graph, id) {
    return graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null;
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
