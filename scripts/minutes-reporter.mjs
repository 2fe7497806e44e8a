/**
 * @file A Vitest reporter: minutes of each project, its slowest files, and beside them the minutes that each may take in a whole
 * run on two cores. Files of a project run one after another, so their times add up.
 */

/** Minutes of a whole run, 20 at most with what comes before the tests. Who adds tests takes them from a share. */
const BUDGET = { pure: 1, long: 1.5, node: 8, chrome: 4.5, page: 2 };
const SLOWEST = 4;

// biome-ignore lint/style/noDefaultExport: Vitest loads reporters by it.
export default class MinutesReporter {
  /** @param {readonly import('vitest/node').TestModule[]} modules */
  onTestRunEnd(modules) {
    /** @type {Map<string, { file: string, seconds: number }[]>} */
    const projects = new Map();
    for (const module of modules) {
      const { duration, collectDuration, setupDuration, prepareDuration, environmentSetupDuration } =
        module.diagnostic();
      const seconds =
        (duration + collectDuration + setupDuration + prepareDuration + environmentSetupDuration) / 1000;
      const files = projects.get(module.project.name) ?? [];
      files.push({ file: module.relativeModuleId, seconds });
      projects.set(module.project.name, files);
    }
    const lines = [...projects].map(([name, files]) => {
      const minutes = files.reduce((sum, { seconds }) => sum + seconds, 0) / 60;
      const share = /** @type {Record<string, number>} */ (BUDGET)[name];
      const slowest = files
        .sort((a, b) => b.seconds - a.seconds)
        .slice(0, SLOWEST)
        .map(({ file, seconds }) => `${file.replace(/^test\//, '')} ${seconds.toFixed(0)} s`);
      return `${name.padEnd(8)}${minutes.toFixed(1).padStart(6)} of ${share ?? '-'} min  ${slowest.join(', ')}`;
    });
    console.log(`\nMinutes by project (its share of a whole run):\n${lines.join('\n')}\n`);
  }
}
