// A broken service is found, understood, mended and seen to heal: node tests/e2e/walk.mjs URL-WITH-TOKEN
// `details` has a fault that answers 503. Pictures of each step go to the folder of E2E_PICTURES, if set.
import assert from 'node:assert/strict';
import { open } from './browser.mjs';

const [url = ''] = process.argv.slice(2);
const { origin } = new URL(url);
const SLOW_MS = 60_000; // what has to show in metrics
const { page, errors, picture: shoot, close } = await open(30_000);
let step = 0;
/** @param {string} name */
const picture = async (name) => {
  step += 1;
  await shoot(`walk-${step}-${name}`);
};
try {
  await page.goto(url);
  const worst = page.getByRole('region', { name: 'Worst error shares' }).or(page.locator('.sc-card', { hasText: 'Worst error shares' }));
  await worst.getByText('details').first().waitFor({ timeout: SLOW_MS });
  await picture('overview');

  await page.goto(`${origin}/graph?window=1m&services=false&namespaces=default,istio-system`);
  const red = page.getByRole('group', { name: /^App productpage v1.*Failure/ });
  await red.first().waitFor({ timeout: SLOW_MS });
  await red.first().focus();
  await page.keyboard.press('Enter');
  await page.getByText(/had code 5XX/).first().waitFor();
  await picture('why');

  await page.goto(`${origin}/services/default/details/traffic`);
  const rule = page.getByRole('group', { name: 'Rule 1' });
  await rule.getByLabel('Answer with status').waitFor();
  assert.equal(await rule.getByLabel('Answer with status').inputValue(), '503');
  await page.getByText('100 % of them are answered with 503 at once.').waitFor();
  await rule.getByLabel('Answer with status').fill('');
  await page.getByText('answered with 503').waitFor({ state: 'detached' });
  await page.locator('.cm-deletedChunk, .cm-changedLine').first().waitFor();
  await picture('wizard');
  await page.getByRole('button', { name: 'Apply' }).click();
  await page.getByText('VirtualService default/details replaced').waitFor();
  await picture('applied');

  await page.goto(`${origin}/graph?window=30s&services=false&namespaces=default,istio-system`);
  await page
    .getByRole('group', { name: /^App productpage v1.*Healthy/ })
    .first()
    .waitFor({ timeout: 2 * SLOW_MS });
  await picture('healed');
  assert.deepEqual(errors, []);
} catch (error) {
  await picture('failed');
  throw error;
} finally {
  await close();
}
