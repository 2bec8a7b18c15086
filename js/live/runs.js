// @ts-check
/**
 * What the sampling runs have reported. For each node that shows them, the newest run and the one before are kept.
 * This is pure data, without the page or ComfyUI.
 */

/**
 * One step, as the server sends it (nodes/live/).
 *
 * @typedef {object} StepMessage
 * @property {string} run
 * @property {string | null} prompt_id
 * @property {string | null} workflow id of the workflow that was queued
 * @property {string} node id of the sampling node; "7:3" is node 3 in the subgraph node 7
 * @property {string | null} type class of that node
 * @property {string[]} views ids of the visualizers connected to the run's trace
 * @property {string} solver its name
 * @property {string} title of the solver
 * @property {string} mode
 * @property {Record<string, number | null>} settings of the mode, by name
 * @property {number} step
 * @property {number} steps
 * @property {number} sigma
 * @property {number} sigma_next
 * @property {number | null} stiffness median over the batch; null if the step has none
 * @property {[number, number] | null} spread least and greatest of the batch
 * @property {number | null} h_stiffness step length times stiffness, in the same way
 * @property {[number, number] | null} h_spread
 * @property {number | null} correction its median size, as a share of the step
 * @property {boolean} active
 * @property {number | null} [believed] how far the correction is believed, 0 to 1, in mode calibrated
 * @property {number | null} [noise] RMS of the noise that the step added; null if it added none
 * @property {number | null} [noise_ratio] its variance over that of the plain step's noise
 * @property {Record<string, number>} [held] how many of the batch are left plain, by reason: repeated, strayed
 * @property {number | null} [error] with the last step: the run's own error, a share of the picture's contrast
 */

/**
 * @typedef {object} Step
 * @property {number} step
 * @property {number} sigma
 * @property {number} sigmaNext
 * @property {number | null} stiffness
 * @property {[number, number] | null} spread
 * @property {number | null} hStiffness
 * @property {[number, number] | null} hSpread
 * @property {number | null} correction
 * @property {boolean} active
 * @property {number | null} believed
 * @property {number | null} [noise]
 * @property {number | null} [noiseRatio]
 * @property {Record<string, number>} held
 * @property {number | null} [error] of the run, with its last step
 */

/**
 * @typedef {object} Run
 * @property {string} id
 * @property {string | null} prompt
 * @property {string} solver its title
 * @property {string} solverName
 * @property {string} mode
 * @property {Record<string, number | null>} settings of the mode, by name
 * @property {number | null} threshold
 * @property {number} total number of steps of the whole run
 * @property {Step[]} steps in the order of their numbers
 * @property {boolean} stopped whether the run ended before its last step
 */

/**
 * @typedef {object} Shown
 * @property {string} key
 * @property {string} workflow
 * @property {string} node
 * @property {Run} current
 * @property {Run | null} previous
 */

/** How many nodes' runs are kept. If there are more, those that were not updated for the longest time are dropped. */
const LIMIT = 64;

export class Runs {
    /** @param {number} [limit] */
    constructor(limit = LIMIT) {
        this.limit = limit;
        /** @type {Map<string, Shown>} by workflow and node, the newest last */
        this.shown = new Map();
    }

    get size() {
        return this.shown.size;
    }

    /**
     * @param {string} workflow
     * @param {string} node
     */
    static key(workflow, node) {
        return `${workflow}/${node}`;
    }

    /**
     * Add a step for one of the nodes that show it.
     *
     * @param {StepMessage} message
     * @param {string} workflow
     * @param {string} node
     * @returns {Shown}
     */
    add(message, workflow, node) {
        const key = Runs.key(workflow, node);
        let shown = this.shown.get(key);
        if (!shown || shown.current.id !== message.run) {
            shown = { key, workflow, node, current: begin(message), previous: shown?.current ?? null };
        }
        insert(shown.current.steps, message);
        this.shown.delete(key);
        this.shown.set(key, shown);
        while (this.shown.size > this.limit) {
            this.shown.delete(/** @type {string} */ (this.shown.keys().next().value));
        }
        return shown;
    }

    /**
     * @param {string} workflow
     * @param {string} node
     * @returns {Shown | undefined}
     */
    get(workflow, node) {
        return this.shown.get(Runs.key(workflow, node));
    }

    /**
     * @param {string} workflow
     * @returns {Shown[]}
     */
    of(workflow) {
        return [...this.shown.values()].filter((shown) => shown.workflow === workflow);
    }

    /**
     * @param {string} workflow
     * @param {string} node
     */
    drop(workflow, node) {
        this.shown.delete(Runs.key(workflow, node));
    }

    /**
     * Called when a prompt was interrupted or failed. No more steps of its runs will arrive.
     *
     * @param {string} prompt
     * @returns {Shown[]} what this changed
     */
    stop(prompt) {
        const changed = [];
        for (const shown of this.shown.values()) {
            const run = shown.current;
            if (run.prompt === prompt && !run.stopped && !isComplete(run)) {
                run.stopped = true;
                changed.push(shown);
            }
        }
        return changed;
    }
}

/** @param {Run} run */
export function isComplete(run) {
    return run.steps.at(-1)?.step === run.total - 1;
}

/**
 * @param {StepMessage} message
 * @returns {Run}
 */
function begin(message) {
    return {
        id: message.run,
        prompt: message.prompt_id,
        solver: message.title,
        solverName: message.solver,
        mode: message.mode,
        settings: message.settings,
        threshold: message.settings.w_con ?? null,
        total: message.steps,
        steps: [],
        stopped: false,
    };
}

/**
 * @param {Step[]} steps
 * @param {StepMessage} message
 */
function insert(steps, message) {
    const step = {
        step: message.step,
        sigma: message.sigma,
        sigmaNext: message.sigma_next,
        stiffness: message.stiffness,
        spread: message.spread,
        hStiffness: message.h_stiffness,
        hSpread: message.h_spread,
        correction: message.correction,
        active: message.active,
        believed: message.believed ?? null,
        noise: message.noise ?? null,
        noiseRatio: message.noise_ratio ?? null,
        held: message.held ?? {},
        error: message.error ?? null,
    };
    let at = steps.length;
    while (at > 0 && steps[at - 1].step >= step.step) at--;
    steps.splice(at, steps[at]?.step === step.step ? 1 : 0, step);
}
