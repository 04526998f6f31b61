// Opens the details of a workload of a real cluster in Chromium, tab by tab:
// `node tests/e2e/details.mjs URL NAMESPACE WORKLOAD`. No page may write an error to the browser's console.
import assert from 'node:assert/strict';
import { open } from './browser.mjs';

const [url = '', namespace = '', workload = ''] = process.argv.slice(2);
const DEADLINE_MS = 45_000;
const { page, errors, picture, close } = await open(DEADLINE_MS);
try {
  await page.goto(url);
  await page.getByRole('link', { name: 'Workloads' }).click();
  await page.getByRole('link', { name: workload, exact: true }).click();
  await page.waitForURL(new RegExp(`/workloads/${namespace}/${workload}`));
  await page.getByRole('table', { name: 'Pods' }).getByText('In sync').waitFor();
  await picture('cluster-overview');
  await page.getByRole('link', { name: 'Inbound metrics' }).click();
  await page.getByRole('table', { name: 'Values of Requests' }).getByText('/s').first().waitFor();
  await page.locator('.u-wrap canvas').first().waitFor();
  await picture('cluster-inbound');
  await page.getByRole('link', { name: 'Outbound metrics' }).click();
  await page.getByLabel('Lines by').selectOption('workload');
  await page.getByRole('table', { name: 'Values of Requests' }).getByText(`(${namespace})`).first().waitFor();
  await picture('cluster-outbound');
  await page.getByRole('link', { name: 'Logs' }).click();
  await page.getByRole('button', { name: /GET/ }).last().click();
  await page.getByRole('region', { name: 'The request of this line, field by field' }).getByText('request_id').waitFor();
  await page.getByText(/· live/).waitFor();
  await picture('cluster-logs');
  await page.getByRole('link', { name: 'Traces' }).click();
  await page.locator('.sc-scatter circle').first().waitFor();
  await page.getByRole('table', { name: 'Traces' }).getByRole('button').first().click();
  await page.getByRole('table', { name: 'Spans' }).getByText(`.${namespace}`).first().waitFor();
  await picture('cluster-traces');
  await page.getByRole('link', { name: 'Envoy' }).click();
  await page.getByRole('grid', { name: 'Clusters' }).getByText('.svc.cluster.local').first().waitFor();
  await picture('cluster-envoy');
  await page.getByLabel('Part of the configuration').selectOption('json');
  await page.getByText('ClustersConfigDump').waitFor();
  for (let steps = 0; steps < 2; steps += 1) await page.goBack();
  await page.getByRole('table', { name: 'Traces' }).waitFor();
  assert.deepEqual(errors, []);
} finally {
  await close();
}
