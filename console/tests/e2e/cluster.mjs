// Opens the console of a real cluster: node tests/e2e/cluster.mjs URL-WITH-TOKEN NODE… [--red NODE]
// The graph shows every NODE (its accessible name starts with it), without an error in the browser's console. With --red it waits until that
// node is red, and prints what its panel says. Pictures go to the folder of E2E_PICTURES, if set.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [url = '', ...rest] = process.argv.slice(2);
const at = rest.indexOf('--red');
const red = at < 0 ? '' : rest[at + 1];
const nodes = at < 0 ? rest : rest.slice(0, at);
const DEADLINE_MS = 30_000;
const folder = mkdtempSync(join(tmpdir(), 'sailcloth-e2e-'));
const browser = await chromium.launchPersistentContext(folder, {
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  viewport: { width: 1440, height: 900 },
});
/** @type {string[]} */
const errors = [];
try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(DEADLINE_MS);
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(error.message));
  await page.goto(url);
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  assert(!page.url().includes('token'), 'the token stays in the URL');
  await page.goto(`${new URL(url).origin}/graph?window=1m&services=false`);
  for (const name of nodes) await page.getByRole('group', { name: new RegExp(`^${name}`) }).first().waitFor();
  if (red) {
    await page.getByRole('group', { name: new RegExp(`^${red}.*Failure`) }).first().click();
    const panel = page.getByText(/failure from/i).first();
    await panel.waitFor();
    console.log(await panel.textContent());
  }
  if (process.env['E2E_PICTURES']) await page.screenshot({ path: join(process.env['E2E_PICTURES'], 'cluster.png') });
  assert.deepEqual(errors, []);
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
