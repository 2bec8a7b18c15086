// @ts-check
/** A chart as a picture, and its numbers as text. */

import { layout } from "./layout.js";
import { CLASS, CSS } from "./style.js";
import { toSVG } from "./svg.js";

/** @typedef {import("./runs.js").Run} Run */
/** @typedef {import("./runs.js").Shown} Shown */

const [WIDTH, HEIGHT, SCALE] = [640, 360, 2];
const COLUMNS = /** @type {const} */ (["step", "sigma", "sigma_next", "stiffness", "h_stiffness", "correction"]);

/**
 * @param {Run} run
 * @returns {string} a header and a line for each step, columns apart by tabs; an empty cell where there is no value
 */
export function numbersOf(run) {
    const rows = run.steps.map((step) => [
        step.step, step.sigma, step.sigmaNext, step.stiffness, step.hStiffness, step.correction,
        step.active ? 1 : 0, step.believed, Object.keys(step.held).join(" "), step.noise, step.noiseRatio,
    ]);
    const cells = [[...COLUMNS, "active", "believed", "held", "noise", "noise_ratio"], ...rows];
    return `${cells.map((row) => row.map((cell) => cell ?? "").join("\t")).join("\n")}\n`;
}

/**
 * The chart as it stands on the page, in its colours, on its ground.
 *
 * @param {Shown} shown
 * @param {HTMLElement} element of the chart, for the page's theme
 * @param {string} view
 * @returns {Promise<Blob>} PNG
 */
export async function pictureOf(shown, element, view) {
    const svg = toSVG(layout(shown.current, shown.previous, WIDTH, HEIGHT, view));
    const look = getComputedStyle(element);
    const variables = ["curve", "active", "threshold", "limit", "text", "ground"]
        .map((name) => `--erk-${name}: ${look.getPropertyValue(`--erk-${name}`)};`)
        .join(" ");
    // Alone, the picture has no page around it: the rules of the chart's element hold for the drawing itself.
    const rules = CSS.slice(CSS.indexOf("/* drawing */")).replaceAll(`.${CLASS} `, "");
    const styled = svg.replace(">", `><style>svg { ${variables} font-family: Arial, sans-serif } ${rules}</style>`);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(styled)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [SCALE * WIDTH, SCALE * HEIGHT];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.fillStyle = look.backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve, reject) => {
        canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture could be made"))), "image/png");
    });
}

/**
 * @param {Blob} blob
 * @param {string} name of the file
 */
export function download(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
