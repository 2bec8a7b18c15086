// @ts-check
/** A chart's axes: the position of a value or a step, the ticks, and how a number is written. */

/** @typedef {{ left: number, right: number, top: number, bottom: number }} Plot */
/** @typedef {{ position: number, label: string }} Tick */

/**
 * A logarithmic axis around some values. It has ticks at powers of ten, and between them if those are few.
 *
 * @param {number[]} values positive
 * @param {number} from position of the axis's low end
 * @param {number} to position of its high end
 */
export function logScale(values, from, to) {
    let low = values.length ? Math.log10(Math.min(...values)) : -1;
    let high = values.length ? Math.log10(Math.max(...values)) : 1;
    if (high - low < 0.5) {
        const middle = (low + high) / 2;
        [low, high] = [middle - 0.25, middle + 0.25];
    }
    const margin = 0.06 * (high - low);
    low -= margin;
    high += margin;
    /** @param {number} value */
    const at = (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
    const most = Math.max(2, Math.floor(Math.abs(to - from) / 18));
    return { at, ticks: logTicks(low, high, most).map((value) => ({ position: at(value), label: short(value) })) };
}

/**
 * @param {number} low power of ten
 * @param {number} high
 * @param {number} most
 */
function logTicks(low, high, most) {
    for (const factors of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 5], [1, 3], [1]]) {
        const ticks = [];
        for (let power = Math.floor(low); power <= high; power++) {
            for (const factor of factors) {
                const value = factor * 10 ** power;
                if (Math.log10(value) >= low && Math.log10(value) <= high) ticks.push(Number(value.toPrecision(1)));
            }
        }
        if (ticks.length <= Math.min(most, 6)) return ticks;
    }
    const every = Math.ceil((high - low) / Math.min(most, 6));
    const ticks = [];
    for (let power = Math.ceil(low / every) * every; power <= high; power += every) ticks.push(10 ** power);
    return ticks;
}

/**
 * Every run fills the width, whatever its number of steps. So two runs have about the same noise level at the same
 * place.
 *
 * @param {number} step
 * @param {number} total
 * @param {Plot} plot
 */
export function stepPosition(step, total, plot) {
    const inset = 8;
    const share = total > 1 ? step / (total - 1) : 0.5;
    return plot.left + inset + share * (plot.right - plot.left - 2 * inset);
}

/**
 * @param {number} total
 * @param {Plot} plot
 * @returns {Tick[]}
 */
export function stepTicks(total, plot) {
    const most = Math.max(2, Math.floor((plot.right - plot.left) / 34));
    const last = total - 1;
    let every = 1;
    for (const candidate of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]) {
        every = candidate;
        if (last / candidate <= most) break;
    }
    const ticks = [];
    for (let step = 0; step <= last; step += every) {
        ticks.push({ position: stepPosition(step, total, plot), label: String(step) });
    }
    return ticks;
}

/**
 * A number in few characters, with at most three digits.
 *
 * @param {number} value
 */
export function short(value) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) {
        return value.toExponential(1).replace(/\.0e/, "e").replace("e+", "e");
    }
    return String(size >= 100 ? Math.round(value) : Number(value.toPrecision(3)));
}
