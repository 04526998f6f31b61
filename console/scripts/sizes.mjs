// Prints what a browser loads, in kB of gzip, and fails over budget. Run after `vite build`.
import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const PAGE = fileURLToPath(new URL('../../src/sailcloth/console/page/', import.meta.url));
const BUDGETS = { shell: 150, 'graph route': 70 };

/** @type {Record<string, {file: string, imports?: string[], css?: string[], assets?: string[]}>} */
const manifest = JSON.parse(readFileSync(PAGE + 'manifest.json', 'utf8'));

/** @param {string} file */
const gzip = (file) => gzipSync(readFileSync(PAGE + file)).length / 1000;

/** The chunk and all that it imports, without what is loaded later.
 * @param {string} entry @param {Set<string>} [seen] */
function closure(entry, seen = new Set()) {
  if (seen.has(entry)) return seen;
  seen.add(entry);
  for (const next of manifest[entry]?.imports ?? []) closure(next, seen);
  return seen;
}

/** @param {Iterable<string>} chunks */
const files = (chunks) => new Set([...chunks].map((chunk) => manifest[chunk]?.file ?? ''));
/** @param {Iterable<string>} chunks */
const styles = (chunks) => new Set([...chunks].flatMap((chunk) => manifest[chunk]?.css ?? []));
/** @param {Iterable<string>} names */
const total = (names) => [...names].reduce((sum, name) => sum + gzip(name), 0);

const shell = closure('index.html');
const routes = Object.keys(manifest).filter((name) => /^src\/(pages|graph|details)\/\w+Page\.tsx$/.test(name));
let failed = false;
/** @param {string} name @param {number} js @param {number} css */
function report(name, js, css) {
  const budget = BUDGETS[/** @type {keyof typeof BUDGETS} */ (name)];
  const over = budget !== undefined && js > budget;
  failed ||= over;
  const limit = budget === undefined ? '' : over ? `  OVER the budget of ${budget}` : `  (budget ${budget})`;
  console.log(`${name.padEnd(18)} ${js.toFixed(1).padStart(7)} kB js ${css.toFixed(1).padStart(6)} kB css${limit}`);
}
report('shell', total(files(shell)), total(styles(shell)));
for (const route of routes) {
  const own = [...closure(route)].filter((chunk) => !shell.has(chunk));
  const name = route.includes('GraphPage') ? 'graph route' : (route.match(/(\w+)Page/)?.[1] ?? '').toLowerCase() + ' route';
  report(name, total(files(own)), total(styles(own)));
}
for (const chunk of Object.values(manifest)) {
  for (const asset of chunk.assets ?? []) if (asset.endsWith('.js')) report('layout worker', gzip(asset), 0);
}
rmSync(PAGE + 'manifest.json');
process.exit(failed ? 1 : 0);
