// Frames a second of the animated graph, by `requestAnimationFrame` over three seconds, as JSON; and when a graph is drawn after its page
// was opened. Against the mock server, in Chromium without a graphics card: node tests/e2e/frames.mjs, after `npm run build`.
import { chromium } from 'playwright-core';
import { TOKEN, start } from '../mock/server.mjs';

const SECONDS = 3;
const SCENES = /** @type {const} */ ([
  ['bookinfo', '/graph'],
  ['nodes_50_edges_200', '/graph?namespaces=frames50&open=*'],
  ['nodes_200_edges_800', '/graph?namespaces=frames200&open=*'],
]);
const server = await start();
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
});
/** @type {Record<string, number>} */
const found = {};
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  await page.goto(server.url);
  await page.getByLabel('Kubernetes token').fill(TOKEN);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  for (const [name, path] of SCENES) {
    const begin = Date.now();
    await page.goto(server.url + path);
    await page.locator('.react-flow__edge').first().waitFor({ timeout: 60_000, state: 'attached' });
    found[`drawn_ms_${name}`] = Date.now() - begin;
    await page.waitForTimeout(1500);
    found[`frames_a_second_${name}`] = await page.evaluate(
      (seconds) =>
        new Promise((resolve) => {
          let frames = 0;
          const first = performance.now();
          const next = (/** @type {number} */ now) => {
            frames += 1;
            if (now - first < seconds * 1000) requestAnimationFrame(next);
            else resolve(Math.round((frames / (now - first)) * 10_000) / 10);
          };
          requestAnimationFrame(next);
        }),
      SECONDS,
    );
  }
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify(found));
