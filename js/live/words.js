// @ts-check
/**
 * The chart's texts in the page's language. The English text is the key: what is not translated is shown in English.
 * Pure but for the one table that the page's entry hands over.
 */

/** What to do about a high value: the same sentence on the nodes, in the help pages and in the docs. */
export const WHAT_TO_DO = translatable(
    "Where h*rho-hat is above 1, a step is too long: use more steps, or a scheduler that puts more of them there.",
);

/**
 * A text that is told elsewhere; the mark by which the list of texts finds it.
 *
 * @param {string} text
 */
export function translatable(text) {
    return text;
}

/** @type {Record<string, string>} */
let table = {};

/** @param {Record<string, string> | null | undefined} texts of a language, by the English ones; none for English */
export function speak(texts) {
    table = texts ?? {};
}

/**
 * @param {string} text English; each %s stands for one of the values
 * @param {(string | number)[]} values
 */
export function tell(text, ...values) {
    let next = 0;
    return (table[text] ?? text).replaceAll("%s", () => String(values[next++]));
}

const CHARACTER = 5.3;
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]/u;
const COMBINING = /[\u0300-\u036f]/u;

/**
 * About how wide a text is in the chart's font, for laying it out before it is drawn.
 *
 * @param {string} text
 */
export function widthOf(text) {
    let width = 0;
    for (const character of text) {
        width += COMBINING.test(character) ? 0 : WIDE.test(character) ? 10.2 : CHARACTER;
    }
    return width;
}
