// Opens the console of a real cluster: node tests/e2e/cluster.mjs URL-WITH-TOKEN NODE… [--red NODE]
// The graph shows every NODE (its accessible name starts with it), without an error in the browser's console. With --red it waits until that
// node is red, and prints what its panel says. The short link to that graph leads to it. Pictures go to the folder of E2E_PICTURES, if set.
import assert from 'node:assert/strict';
import { open } from './browser.mjs';

const [url = '', ...rest] = process.argv.slice(2);
const at = rest.indexOf('--red');
const red = at < 0 ? '' : rest[at + 1];
const nodes = at < 0 ? rest : rest.slice(0, at);
const DEADLINE_MS = 30_000;
const { page, errors, picture, close } = await open(DEADLINE_MS);
try {
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
  await picture('cluster');
  const { origin, pathname, search } = new URL(page.url());
  await page.getByRole('button', { name: 'Copy a link' }).click();
  const link = await page.getByRole('link', { name: /^\/l\// }).getAttribute('href') ?? '';
  assert(link.startsWith(`${origin}/l/`) && link.length < origin.length + 16, `${link} is not short`);
  await page.goto('about:blank');
  await page.goto(link);
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  assert.equal(page.url(), origin + pathname + search);
  assert.deepEqual(errors, []);
} finally {
  await close();
}
