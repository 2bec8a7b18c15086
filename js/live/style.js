// @ts-check
/**
 * The chart's look. Text and background use the page's theme variables. The data's colours are Okabe and Ito's, which
 * colour-blind people can distinguish too. The lighter ones are used on a dark background.
 */

export const CLASS = "erk-guid-live";

/** The class of a chart that is shown below a subgraph node, for a sampler inside it. */
export const UNDER = "erk-guid-live-under";
export const GAP = 6;

/** Least and greatest height of the chart, in pixels of the graph. */
export const HEIGHT = { least: 200, most: 340 };

export const CSS = `
.${CLASS} {
    --erk-curve: #0072b2;
    --erk-active: #d55e00;
    --erk-threshold: #a4447a;
    --erk-text: var(--input-text, #222);
    --erk-ground: var(--component-node-widget-background, var(--comfy-input-bg, #eee));
    position: relative;
    box-sizing: border-box;
    width: 100%;
    min-height: ${HEIGHT.least - 20}px;
    max-height: ${HEIGHT.most}px;
    overflow: hidden;
    border-radius: 6px;
    background: var(--erk-ground);
    user-select: none;
}
.dark-theme .${CLASS} {
    --erk-curve: #56b4e9;
    --erk-active: #e69f00;
    --erk-threshold: #cc79a7;
    --erk-text: var(--input-text, #ddd);
    --erk-ground: var(--component-node-widget-background, var(--comfy-input-bg, #222));
}
.${CLASS}.${UNDER} { border: 1px solid color-mix(in srgb, var(--erk-text) 25%, transparent); }
[data-node-id] > .${CLASS}.${UNDER} {
    position: absolute; top: calc(100% + ${GAP}px); left: 0; height: ${HEIGHT.least}px;
}
[data-node-id][data-collapsed] > .${CLASS}.${UNDER} { display: none; }
.${CLASS} svg {
    position: absolute; inset: 0; width: 100%; height: 100%;
    font-family: Arial, Helvetica, sans-serif; pointer-events: none;
}
.${CLASS} text { fill: var(--erk-text); white-space: pre; }
.${CLASS} text.faint { fill: var(--erk-text); opacity: 0.72; }
.${CLASS} text.title, .${CLASS} text.strong { font-weight: bold; }
.${CLASS} line { stroke: var(--erk-text); }
.${CLASS} line.grid { opacity: 0.13; }
.${CLASS} line.axis { opacity: 0.4; }
.${CLASS} line.hair { opacity: 0.4; stroke-dasharray: 2 2; }
.${CLASS} line.threshold { stroke: var(--erk-threshold); stroke-width: 1.5; stroke-dasharray: 5 3; }
.${CLASS} polyline { fill: none; stroke-linejoin: round; }
.${CLASS} .curve { stroke: var(--erk-curve); stroke-width: 1.6; }
.${CLASS} .previous { stroke: var(--erk-text); stroke-width: 1.4; opacity: 0.38; }
.${CLASS} .band { fill: var(--erk-curve); opacity: 0.2; stroke: none; }
.${CLASS} .plain { fill: var(--erk-ground); stroke: var(--erk-curve); stroke-width: 1.6; }
.${CLASS} .active { fill: var(--erk-active); stroke: var(--erk-ground); stroke-width: 0.8; }
.${CLASS} .missing { fill: none; stroke: var(--erk-text); opacity: 0.6; stroke-width: 1.2; }
.${CLASS} .tip rect { fill: var(--erk-ground); stroke: var(--erk-text); stroke-opacity: 0.4; }
`;
