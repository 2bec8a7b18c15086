// @ts-check
/**
 * The chart's look. Text and background use the page's theme variables. The data's colours are Okabe and Ito's, which
 * colour-blind people can distinguish too. The lighter ones are used on a dark background.
 */

export const CLASS = "erk-guid-live";

/** The class of a chart that is shown below a subgraph node, for a sampler inside it. */
export const UNDER = "erk-guid-live-under";
export const GAP = 6;

/**
 * Heights in pixels of the graph: the least of a chart, the most of one that shares its node with a picture, and what
 * ComfyUI gives a picture below the widgets.
 */
export const HEIGHT = { least: 200, most: 340, picture: 248 };

/** Room for the tabs at the left of the title. */
export const TABS = 92;

export const CSS = `
.${CLASS} {
    --erk-curve: #0072b2;
    --erk-active: #cc5a00;
    --erk-threshold: #a4447a;
    --erk-limit: #b3261e;
    --erk-text: var(--input-text, #222);
    --erk-ground: var(--component-node-widget-background, var(--comfy-input-bg, #eee));
    position: relative;
    box-sizing: border-box;
    width: 100%;
    display: flex;
    flex-direction: column;
    overflow: hidden;
    border-radius: 6px;
    background: var(--erk-ground);
    user-select: none;
}
/* Older pages mark a dark theme by a class, newer ones by the root's color-scheme. */
.dark-theme .${CLASS}, :root[style*="color-scheme: dark"] .${CLASS} {
    --erk-curve: #56b4e9;
    --erk-active: #e69f00;
    --erk-threshold: #cc79a7;
    --erk-limit: #ff8a80;
    --erk-text: var(--input-text, #ddd);
    --erk-ground: var(--component-node-widget-background, var(--comfy-input-bg, #222));
}
/* Nodes 2.0 lays out by these. A chart with room reserved keeps it free until the node shows a picture. */
[data-node-id] .${CLASS} { min-height: ${HEIGHT.least - 20}px; max-height: ${HEIGHT.most}px; }
[data-node-id] .${CLASS}[data-reserved] { min-height: ${HEIGHT.least - 20 + HEIGHT.picture}px; max-height: none; }
[data-node-id]:has(img) .${CLASS}[data-reserved] { min-height: ${HEIGHT.least - 20}px; max-height: ${HEIGHT.most}px; }
.${CLASS} .erk-guid-drawing {
    position: relative; flex: 1; min-height: 0;
    display: flex; align-items: center; justify-content: center; padding: 0 16px; text-align: center;
    font: 12px Arial, Helvetica, sans-serif; color: var(--erk-text); white-space: pre-line;
}
.${CLASS} .erk-guid-tabs { position: absolute; top: 4px; left: 5px; display: flex; gap: 1px; }
.${CLASS} .erk-guid-tabs[hidden], .${CLASS} .erk-guid-note[hidden] { display: none; }
.${CLASS} .erk-guid-tabs button {
    height: 17px; padding: 0 6px; border: 0; border-radius: 4px; background: none; cursor: pointer;
    font: 10px/17px Arial, Helvetica, sans-serif; color: var(--erk-text); opacity: 0.72;
}
.${CLASS} .erk-guid-tabs button[aria-pressed="true"] {
    font-weight: bold; opacity: 1; background: color-mix(in srgb, var(--erk-text) 18%, transparent);
}
.${CLASS} .erk-guid-note {
    flex: none; margin: 0 8px 5px; font: 10px/13px Arial, Helvetica, sans-serif; color: var(--erk-limit);
    white-space: pre-line; overflow: hidden; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3;
}
.${CLASS}:not(:has(svg)) .erk-guid-note { order: -1; margin: 12px 14px 0; font-size: 12px; line-height: 16px; }
.${CLASS}.${UNDER} { border: 1px solid color-mix(in srgb, var(--erk-text) 25%, transparent); }
[data-node-id] > .${CLASS}.${UNDER} {
    position: absolute; top: calc(100% + ${GAP}px); left: 0; height: ${HEIGHT.least}px;
}
[data-node-id][data-collapsed] > .${CLASS}.${UNDER} { display: none; }
.${CLASS} svg {
    position: absolute; inset: 0; width: 100%; height: 100%;
    font-family: Arial, Helvetica, sans-serif; pointer-events: none;
}
/* drawing */
.${CLASS} text { fill: var(--erk-text); white-space: pre; }
.${CLASS} text.faint { fill: var(--erk-text); opacity: 0.72; }
.${CLASS} text.title, .${CLASS} text.strong { font-weight: bold; }
.${CLASS} line { stroke: var(--erk-text); }
.${CLASS} line.grid { opacity: 0.13; }
.${CLASS} line.axis { opacity: 0.4; }
.${CLASS} line.hair { opacity: 0.4; stroke-dasharray: 2 2; }
.${CLASS} line.threshold { stroke: var(--erk-threshold); stroke-width: 1.5; stroke-dasharray: 5 3; }
.${CLASS} line.limit { stroke: var(--erk-limit); stroke-width: 1.3; stroke-dasharray: 1 3; }
.${CLASS} .high { fill: var(--erk-limit); opacity: 0.13; stroke: none; }
.${CLASS} polyline { fill: none; stroke-linejoin: round; }
.${CLASS} .curve { stroke: var(--erk-curve); stroke-width: 1.6; }
.${CLASS} .previous { stroke: var(--erk-text); stroke-width: 1.4; opacity: 0.38; }
.${CLASS} .band { fill: var(--erk-curve); opacity: 0.2; stroke: none; }
.${CLASS} .plain { fill: var(--erk-ground); stroke: var(--erk-curve); stroke-width: 1.6; }
.${CLASS} .active { fill: var(--erk-active); stroke: var(--erk-ground); stroke-width: 0.8; }
.${CLASS} .missing { fill: none; stroke: var(--erk-text); opacity: 0.6; stroke-width: 1.2; }
.${CLASS} .tip rect { fill: var(--erk-ground); stroke: var(--erk-text); stroke-opacity: 0.4; }
`;
