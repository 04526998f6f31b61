// Opens every page in Chromium against the mock server: `npm run e2e` after `npm run build`. No page may write an error to the browser's
// console, axe-core may find no serious violation in either theme, and the red node must say why it is red. Pictures go to the folder of
// E2E_PICTURES, if set.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { TOKEN, start } from '../mock/server.mjs';
import { open } from './browser.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DEADLINE_MS = 15_000;

/** What shows that a page is there. @type {[path: string, selector: string][]} */
const PAGES = [
  ['/', '.sc-donut'],
  ['/graph', '.react-flow__node'],
  ['/graph?table=true', 'table'],
  ['/graph?labels=rate&legend=true&animation=false', '.sc-edge-label'],
  ['/graph?namespaces=large', '.sc-open'],
  ['/graph?at=1796053310', '.sc-replay'],
  ['/graph?namespaces=empty', '.pf-v6-c-empty-state'],
  ['/applications', 'table'],
  ['/workloads', 'table'],
  ['/services', 'table'],
  ['/config', 'table'],
  ['/config/VirtualService/default/reviews', '.sc-table'],
  ['/config/VirtualService/default/reviews?tab=yaml', '.cm-content'],
  ['/mesh', '.sc-components'],
  ['/config/new', '.cm-content'],
  ['/explain?source=default/productpage-v1&url=http://reviews:9080/', '.sc-card h3'],
  ['/config/new/mutual-tls', '.sc-preview'],
  ['/config/new/observed', '.sc-preview .sc-table'],
  ['/config/PeerAuthentication/default/default/form', '.sc-preview .cm-content'],
  ['/services/default/reviews/traffic', '.sc-preview .cm-content'],
  ['/namespaces', 'table'],
  ['/namespaces/default', 'table'],
  ['/workloads/default/reviews-v2', 'table'],
  ['/services/default/reviews-v2', 'table'],
  ['/applications/default/productpage', 'table'],
  ['/workloads/default/reviews-v2?tab=inbound', '.u-wrap canvas'],
  ['/workloads/default/reviews-v2?tab=outbound&by=workload', '.u-wrap canvas'],
  ['/workloads/default/mongodb-v1?tab=inbound', '.pf-v6-c-empty-state'],
  ['/workloads/default/reviews-v2?tab=logs', '.sc-line'],
  ['/workloads/default/mongodb-v1?tab=logs&live=false', '.pf-v6-c-empty-state'],
  [`/workloads/default/reviews-v2?tab=traces&trace=${'1'.padStart(32, '0')}`, '.sc-spans'],
  ['/workloads/default/reviews-v2?tab=runtime', '.u-wrap canvas'],
  ['/workloads/default/reviews-v2?tab=envoy&part=logging', '.sc-table select'],
  ['/workloads/default/reviews-v2?tab=envoy&part=difference', '.sc-diff'],
  ['/services/default/mongodb-v1?tab=traces', '.pf-v6-c-empty-state'],
  ['/workloads/default/reviews-v2?tab=envoy', 'table'],
  ['/workloads/default/reviews-v2?tab=envoy&part=json', 'pre'],
  ['/nowhere', '.pf-v6-c-empty-state'],
];

const server = await start();
const isRefused = (/** @type {import('playwright-core').ConsoleMessage} */ message) =>
  message.location().url.includes('/api/') && message.text().includes('401');
const { page, errors, picture, close } = await open(DEADLINE_MS, isRefused);

/** Fails with all serious violations of the page. @param {string} where */
async function accessible(where) {
  await page.waitForTimeout(400);
  await page.evaluate(() => {
    const finite = document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Infinity);
    return Promise.allSettled(finite.map((one) => one.finished)).then(() => undefined); // what fades in has other colours
  });
  await page.evaluate(AXE); // by the debugger's protocol: the page's policy lets no other script in
  const violations = await page.evaluate(async () => {
    const result = await /** @type {any} */ (window).axe.run(document, { resultTypes: ['violations'] });
    return result.violations
      .filter((/** @type {any} */ one) => one.impact === 'serious' || one.impact === 'critical')
      .map(
        (/** @type {any} */ one) =>
          `${one.id}: ${one.nodes
            .slice(0, 3)
            .map((/** @type {any} */ node) => `${node.html.slice(0, 200)} ${node.any[0]?.message ?? ''}`)
            .join(' | ')}`,
      );
  });
  assert.deepEqual(violations, [], `axe on ${where}`);
}

/** @type {[name: string, test: () => Promise<void>][]} */
const TESTS = [
  [
    'a wrong token is refused with a reason, a good one logs in',
    async () => {
      await page.goto(server.url);
      await page.getByLabel('Kubernetes token').fill('wrong');
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.getByText('the token is not valid').waitFor();
      assert.equal(await page.getByRole('link', { name: 'Log in with your organization' }).getAttribute('href'), '/api/openid/login');
      await accessible('login');
      await picture('login');
      await page.getByLabel('Kubernetes token').fill(TOKEN);
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    },
  ],
  ...PAGES.flatMap(([path, selector]) =>
    /** @type {const} */ (['light', 'dark']).map((colorScheme) => {
      /** @type {[string, () => Promise<void>]} */
      const test = [
        `${path} opens in the ${colorScheme} theme, and is accessible`,
        async () => {
          await page.emulateMedia({ colorScheme });
          await page.goto(server.url + path);
          await page.locator(selector).first().waitFor();
          await page.waitForTimeout(400); // transitions change colours
          await picture(`${path.replace(/\W+/g, '-').replace(/^-|-$/g, '') || 'overview'}-${colorScheme}`);
          await accessible(path);
        },
      ];
      return test;
    }),
  ),
  [
    'selecting the red node says why it is red, and the back button takes it back',
    async () => {
      await page.emulateMedia({ colorScheme: 'light' });
      await page.goto(`${server.url}/graph`);
      const red = page.getByRole('group', { name: 'App reviews v2 in default, Failure' });
      await red.focus();
      await page.keyboard.press('Enter');
      const panel = page.getByRole('complementary', { name: 'Details of the selection' });
      await panel.getByText('35 % of 2/s had code 5XX in the last 5m. Degraded above 0 %, failure from 10 %.').waitFor();
      assert.match(page.url(), /selected=/);
      await picture('selected');
      await accessible('the panel of a node');
      await page.goBack();
      await panel.waitFor({ state: 'detached' });
      await red.focus();
      await page.keyboard.press('Enter');
      await panel.waitFor();
      assert.ok(await panel.evaluate((element) => element === document.activeElement), 'the panel has the keyboard');
      await page.keyboard.press('Escape');
      await panel.waitFor({ state: 'detached' });
      assert.ok(await red.evaluate((element) => element === document.activeElement), 'the node has the keyboard back');
    },
  ],
  [
    'an edge says its traffic, its quantiles and its mutual TLS',
    async () => {
      await page.goto(`${server.url}/graph`);
      const edge = page.getByRole('group', { name: /http from reviews v3 to ratings v1/ });
      await edge.focus();
      await page.keyboard.press('Enter');
      await page.getByText('50 % of the traffic is secured by mutual TLS.').waitFor();
      await page.getByText('1.9 s', { exact: true }).waitFor();
      await page.keyboard.press('Escape');
      await page.getByText('50 % of the traffic is secured').waitFor({ state: 'detached' });
    },
  ],
  [
    'edges follow the routes of the layout, around nodes and back',
    async () => {
      await page.goto(`${server.url}/graph?namespaces=large&open=*&animation=false`);
      await page.locator('.sc-edge-line').first().waitFor({ state: 'attached' });
      const curves = await page.locator('.sc-edge-line').evaluateAll((lines) => lines.map((line) => line.getAttribute('d') ?? ''));
      // A curve that left its route is one quadratic piece: see curve() in path.ts.
      assert.deepEqual(
        curves.filter((d) => /^M[^QC]*Q[^Q]*$/.test(d)),
        [],
      );
    },
  ],
  [
    'numbers change by the stream, and no node moves',
    async () => {
      await page.goto(`${server.url}/graph?labels=rate`);
      const places = () =>
        page.locator('.react-flow__node').evaluateAll((nodes) => nodes.map((node) => /** @type {HTMLElement} */ (node).style.transform));
      await page.getByText('6.4/s').first().waitFor({ state: 'attached' });
      const before = await places();
      await page.getByText('6.4/s').first().waitFor({ state: 'detached' });
      assert.deepEqual(await places(), before);
      await page.getByText(/^Live/).waitFor();
    },
  ],
  [
    'without the stream the page polls, and says so',
    async () => {
      await page.route('**/api/graph/events*', (route) => route.abort());
      await page.goto(`${server.url}/graph`);
      await page.locator('.react-flow__node').first().waitFor();
      await page.getByText(/^Polling/).waitFor();
      await page.unroute('**/api/graph/events*');
      errors.length = 0; // the browser reports the aborted request
    },
  ],
  [
    'dots move, but not for those who want less motion',
    async () => {
      await page.goto(`${server.url}/graph`);
      await page.locator('.sc-dots').first().waitFor();
      await page.emulateMedia({ reducedMotion: 'reduce' });
      await page.reload();
      await page.locator('.react-flow__edge').first().waitFor({ state: 'attached' });
      assert.equal(await page.locator('.sc-dots').count(), 0);
      await page.emulateMedia({ reducedMotion: 'no-preference' });
    },
  ],
  [
    'boxes are of namespaces, of applications, or none, and a large graph is drawn at once',
    async () => {
      await page.goto(`${server.url}/graph`);
      await page.getByRole('button', { name: 'Collapse namespace default' }).waitFor();
      await page.getByLabel('Boxes').selectOption('app');
      await page.locator('.sc-box-title', { hasText: 'reviews' }).waitFor();
      assert.equal(await page.locator('.sc-box').count(), 1);
      await page.getByLabel('Boxes').selectOption('none');
      await page.locator('.sc-box').waitFor({ state: 'detached' });
      await page.goto(`${server.url}/graph?namespaces=frames200&open=*`);
      await page.locator('.react-flow__edge').first().waitFor({ state: 'attached', timeout: 3000 });
      await picture('graph-200');
    },
  ],
  [
    'find marks, hide removes, and a wrong word is explained',
    async () => {
      await page.goto(`${server.url}/graph`);
      await page.locator('.react-flow__node').first().waitFor();
      await page.keyboard.press('/');
      await page.keyboard.type('name = reviews');
      await page.getByText('3 nodes, 0 edges found').waitFor();
      await page.getByLabel('Hide', { exact: true }).fill('ns = istio-system');
      await page.getByText('istio-ingressgateway').waitFor({ state: 'detached' });
      await page.getByLabel('Find', { exact: true }).fill('colour = red');
      await page.getByText('There is no operand “colour”').waitFor();
      await picture('find');
      await page.getByRole('button', { name: 'The language of find and hide' }).click();
      await page.getByRole('button', { name: '! healthy' }).click();
      await page.getByText('2 nodes, 0 edges found').waitFor();
      await accessible('the help of find');
    },
  ],
  [
    'a large graph starts collapsed, and a namespace opens',
    async () => {
      await page.goto(`${server.url}/graph?namespaces=large`);
      await page.getByRole('button', { name: 'Open namespace team-1, 6 nodes +' }).click();
      await page.getByText('service-3', { exact: true }).waitFor({ state: 'attached' });
      await picture('opened');
    },
  ],
  [
    'the graph is exported as a picture and as JSON',
    async () => {
      await page.goto(`${server.url}/graph?labels=rate`);
      await page.locator('.react-flow__node').first().waitFor();
      for (const format of ['SVG', 'JSON']) {
        const [download] = await Promise.all([
          page.waitForEvent('download'),
          page.getByRole('combobox', { name: 'Export…' }).selectOption(format.toLowerCase()),
        ]);
        const body = readFileSync((await download.path()) ?? '', 'utf8');
        if (format === 'JSON') assert.equal(JSON.parse(body).type, 'versionedApp');
        else assert.match(body, /^<svg[^]*productpage v1[^]*<\/svg>\n$/);
      }
    },
  ],
  [
    'lists filter and sort, and the health says why',
    async () => {
      await page.goto(`${server.url}/applications?health=Failure`);
      await page.getByText('1 of 8 rows').waitFor();
      await page.getByRole('button', { name: 'Why reviews-v2' }).click();
      await page.getByText('35 % of 2/s had code 5XX').waitFor();
      await accessible('the popover of health');
      await picture('why');
      await page.goto(`${server.url}/services?sort=-rate`);
      await page.locator('tbody tr').first().getByText('istio-ingressgateway').waitFor();
    },
  ],
  [
    'the namespaces in the URL go along from page to page',
    async () => {
      await page.goto(`${server.url}/?window=10m`);
      await page.getByRole('button', { name: 'All namespaces' }).click();
      await page.getByRole('checkbox', { name: 'default' }).check();
      await picture('namespaces');
      await page.getByRole('link', { name: 'Workloads' }).click();
      await page.waitForURL(/\/workloads\?(?=.*namespaces=default)(?=.*window=10m)/);
    },
  ],
  [
    'a name in a list leads to its details, its namespace, and back',
    async () => {
      await page.goto(`${server.url}/workloads?window=10m&sort=name`);
      await page.getByRole('link', { name: 'reviews-v2' }).click();
      await page.getByRole('heading', { name: 'reviews-v2' }).waitFor();
      await page.getByText('CrashLoopBackOff').waitFor();
      assert.match(await page.title(), /^reviews-v2/);
      assert.match(page.url(), /window=10m/);
      const object = page.getByRole('table', { name: 'Objects of the mesh' }).getByRole('link', { name: 'reviews' }).last();
      assert.match((await object.getAttribute('href')) ?? '', /^\/config\/DestinationRule\/default\/reviews/);
      await page.getByRole('navigation', { name: 'Where this page is' }).getByRole('link', { name: 'default' }).click();
      await page.getByRole('heading', { name: 'default' }).waitFor();
      await page.goBack();
      await page.getByRole('heading', { name: 'reviews-v2' }).waitFor();
      await page.goBack();
      await page.getByRole('heading', { name: 'Workloads' }).waitFor();
    },
  ],
  [
    'charts have lines by what is chosen, and the values under the pointer',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2`);
      await page.getByRole('link', { name: 'Inbound metrics' }).click();
      await page.waitForURL(/tab=inbound/);
      const values = page.getByRole('table', { name: 'Values of Duration' });
      await values.getByText('p99').waitFor();
      await page.getByLabel('Lines by').selectOption('workload');
      await values.getByText('productpage-v1 (default) p95').waitFor();
      await page.getByRole('table', { name: 'Values of Requests' }).getByText('inaccessible').waitFor();
      const header = values.locator('thead');
      await header.getByText('Last').waitFor();
      await page.locator('.u-over').nth(2).hover();
      await header.getByText(/\d\d:\d\d:\d\d/).waitFor();
      assert.match(page.url(), /by=workload/);
      await page.goBack();
      await values.getByText('p99').waitFor();
    },
  ],
  [
    'logs follow, are searched, and say what a request met',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2?tab=logs`);
      await page.getByText('a new line has come').waitFor();
      await page.getByText('Not readable: reviews-v2-5b7c9-q8q8q app').waitFor();
      await page.keyboard.press('/');
      await page.keyboard.type('/took 3\\d ms/');
      await page.getByText('10 of 43 lines').waitFor();
      await page.getByLabel('Show lines that contain').fill('/(/');
      await page.getByText('The regular expression is not valid').waitFor();
      await page.getByLabel('Show lines that contain').fill('');
      await page.getByRole('checkbox', { name: 'app' }).uncheck();
      await page.getByText('1 of 43 lines').waitFor();
      const request = page.getByRole('button', { name: /GET .reviews.0/ });
      await request.focus();
      await page.keyboard.press('Enter');
      await page.getByText('because no healthy upstream.').waitFor();
      await page.getByText('The lines stand still').waitFor();
      await accessible('an explained request');
      await picture('explained');
      assert.match(page.url(), /without=app/);
      await page.goBack();
      await page.getByText('43 lines').waitFor();
    },
  ],
  [
    'a trace opens span by span, and errors alone are shown',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2?tab=traces`);
      await page.getByText('24 traces').waitFor();
      await page.getByRole('checkbox', { name: 'Errors only' }).check();
      await page.getByText('4 traces', { exact: true }).waitFor();
      await page.locator('.sc-scatter circle').first().click();
      const spans = page.getByRole('table', { name: 'Spans' });
      await spans.getByText('reviews.default').first().waitFor();
      const failed = spans.getByRole('button').last();
      await failed.focus();
      await page.keyboard.press('Enter');
      await spans.getByText('503').waitFor();
      await accessible('the tags of a span');
      await picture('trace');
      assert.match(page.url(), /errors=true.*trace=0+1/);
      await page.goBack();
      await spans.waitFor({ state: 'detached' });
    },
  ],
  [
    'a trace is compared with others, and marked in the graph; spans are over the charts',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2?tab=traces&trace=${'1'.padStart(32, '0')}`);
      await page.locator('.sc-heat').first().waitFor();
      await page.getByText('in 23 traces of the last 5m').waitFor();
      await page.getByRole('table', { name: 'Similar traces' }).waitFor();
      await picture('trace-compared');
      await page.getByRole('link', { name: 'Show in the graph' }).click();
      await page.getByText(/^The trace of .* is marked: 4 spans/).waitFor();
      await page.locator('.sc-node.sc-found').first().waitFor();
      await picture('trace-in-graph');
      await page.getByRole('button', { name: 'End', exact: true }).click();
      await page.locator('.sc-found').first().waitFor({ state: 'detached' });
      await page.goto(`${server.url}/workloads/default/reviews-v2?tab=inbound`);
      await page.getByLabel('Spans over durations').check();
      await page.getByText('Slowest spans').waitFor();
      await picture('spans-over-chart');
      await page.locator('.sc-card', { hasText: 'Slowest spans' }).getByRole('link').first().click();
      await page.locator('.sc-spans').waitFor();
    },
  ],
  [
    'the configuration of a proxy leads to the objects that it comes from',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2?tab=envoy`);
      await page.getByText('4 rows are not shown').waitFor();
      await page.keyboard.press('/');
      await page.keyboard.type('v2');
      await page.getByText('1 of 3 rows').waitFor();
      await page.getByLabel('Filter rows').fill('');
      await page.getByLabel('Part of the configuration').selectOption('route');
      const origin = page.getByRole('grid', { name: 'Routes' }).getByRole('link', { name: 'reviews.default' });
      assert.match((await origin.getAttribute('href')) ?? '', /^\/config\/VirtualService\/default\/reviews/);
      assert.match(page.url(), /part=route/);
      await page.goBack();
      await page.getByRole('grid', { name: 'Clusters' }).waitFor();
    },
  ],
  [
    'what an Envoy has is compared with what it is to have, and its log level is set',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2?tab=envoy&part=difference`);
      await page.locator('.sc-removed', { hasText: '10s' }).waitFor();
      assert.equal(await page.getByText('Envoy has exactly what').count(), 2);
      await picture('envoy-difference');
      await page.getByLabel('Part of the configuration').selectOption('logging');
      await page.getByLabel('http', { exact: true }).selectOption('debug');
      await page.getByRole('option', { name: 'various' }).waitFor({ state: 'attached' });
      assert.equal(await page.getByLabel('upstream').inputValue(), 'warning');
    },
  ],
  [
    'dashboards of runtimes are there for what has their metrics',
    async () => {
      await page.goto(`${server.url}/workloads/default/reviews-v2`);
      await page.getByRole('link', { name: 'Runtime' }).click();
      await page.getByRole('heading', { name: 'Memory that Envoy has allocated' }).waitFor();
      await page.getByRole('region', { name: 'Go' }).locator('canvas').waitFor();
      await picture('runtime');
      await page.goto(`${server.url}/workloads/default/mongodb-v1`);
      await page.getByRole('link', { name: 'Envoy' }).waitFor();
      assert.equal(await page.getByRole('link', { name: 'Runtime' }).count(), 0);
      await page.goto(`${server.url}/workloads/default/mongodb-v1?tab=runtime`);
      await page.getByText('Nothing is known of what its pods run in').waitFor();
    },
  ],
  [
    'a rule says which of its routes got no request',
    async () => {
      await page.goto(`${server.url}/config/VirtualService/default/reviews`);
      await page.getByRole('button', { name: 'Look at the access logs of the last 5m' }).click();
      await page.getByRole('row', { name: /canary reviews.default v2 No request/ }).waitFor();
      await page.getByText('By 1234 requests').waitFor();
      assert.ok(page.url().includes('use=true'));
      await picture('rule-use');
    },
  ],
  [
    'what is not there says so',
    async () => {
      await page.goto(`${server.url}/workloads/default/nothing`);
      await page.getByText('there is no such thing').waitFor();
      errors.length = 0; // the browser reports the answer of 404
    },
  ],
  [
    'the side panel of the graph leads to details',
    async () => {
      await page.goto(`${server.url}/graph`);
      const red = page.getByRole('group', { name: 'App reviews v2 in default, Failure' });
      await red.focus();
      await page.keyboard.press('Enter');
      await page.getByRole('complementary').getByRole('link', { name: 'reviews-v2' }).click();
      await page.waitForURL(/\/workloads\/default\/reviews-v2/);
    },
  ],
  [
    'a page whose file is gone says so',
    async () => {
      await page.route('**/assets/ConfigPage*', (route) => route.abort());
      await page.goto(`${server.url}/config`);
      await page.getByText('This page cannot be shown').waitFor();
      await page.unroute('**/assets/ConfigPage*');
      await page.getByRole('button', { name: 'Load again' }).click();
      await page.locator('table').waitFor();
      errors.length = 0; // the browser reports the aborted request
    },
  ],
  [
    'Ctrl-K goes to whatever has a name',
    async () => {
      await page.goto(`${server.url}/?window=10m`);
      await page.getByRole('navigation', { name: 'Pages' }).waitFor();
      await page.keyboard.press('Control+k');
      const box = page.getByRole('combobox', { name: 'Go to' });
      await box.fill('reviews virtual');
      await page.getByRole('option', { name: 'default/reviews VirtualService' }).waitFor();
      await accessible('the palette');
      await page.keyboard.press('Enter');
      await page.waitForURL(/\/config\/VirtualService\/default\/reviews\?window=10m/);
      await page.keyboard.press('Control+k');
      await page.keyboard.press('Escape');
      await box.waitFor({ state: 'detached' });
    },
  ],
  [
    'a moment of the past is in the URL, and one step is ten seconds',
    async () => {
      await page.goto(`${server.url}/graph`);
      await page.getByRole('button', { name: 'Replay' }).click();
      await page.waitForURL(/[?&]at=\d+/);
      const at = Number(new URL(page.url()).searchParams.get('at'));
      await page.getByRole('button', { name: '10 s earlier' }).click();
      await page.waitForURL(new RegExp(`at=${at - 10}`));
      await page.getByText(/^Paused ·/).waitFor();
      await page.getByRole('button', { name: 'Back to now' }).click();
      await page.getByText(/^Live/).waitFor();
    },
  ],
  [
    'a node can be shown with its neighbours alone',
    async () => {
      await page.goto(`${server.url}/graph`);
      const node = page.getByRole('group', { name: 'App reviews v2 in default, Failure' });
      await node.focus();
      await page.keyboard.press('Enter');
      await page.getByRole('button', { name: 'Show only its neighbours' }).click();
      await page.getByRole('button', { name: 'Only neighbours' }).waitFor();
      await page.getByRole('group', { name: /^App reviews v3/ }).waitFor({ state: 'detached' });
      await page.goBack();
      await page.getByRole('group', { name: /^App reviews v3/ }).waitFor();
    },
  ],
  [
    'the graph is saved as a picture and as text',
    async () => {
      await page.goto(`${server.url}/graph`);
      await page.locator('.react-flow__node').first().waitFor();
      for (const [format, head] of [['png', '\x89PNG'], ['dot', 'digraph'], ['mermaid', 'flowchart'], ['svg', '<svg'], ['json', '{']]) {
        const waiting = page.waitForEvent('download');
        await page.getByRole('combobox', { name: 'Export…' }).selectOption(format ?? '');
        const path = await (await waiting).path();
        assert.ok(readFileSync(path).toString('latin1').startsWith(head ?? ''), format);
      }
    },
  ],
  [
    'the editor shows an error at its line, completes fields, applies, and undoes',
    async () => {
      await page.goto(`${server.url}/config/VirtualService/default/reviews?tab=yaml`);
      const editor = page.getByRole('textbox', { name: 'YAML of VirtualService default/reviews' });
      await editor.locator('.cm-line', { hasText: 'hosts:' }).click();
      await page.keyboard.press('End');
      for (let count = 0; count < 3; count += 1) await page.keyboard.press('Backspace');
      await page.keyboard.type('st:');
      await page.getByText('Error line 8').waitFor();
      await page.locator('.cm-lint-marker-error').waitFor();
      await page.getByRole('button', { name: 'Apply' }).click();
      await page.getByText('1 error: nothing was changed.').waitFor();
      await accessible('the editor with an error');
      await picture('editor-error');
      await page.getByRole('button', { name: 'Discard my changes' }).click();
      await page.getByText('Error line 8').waitFor({ state: 'detached' });
      await editor.locator('.cm-line', { hasText: 'timeout: 1s' }).click();
      await page.keyboard.press('End');
      await page.keyboard.press('Enter');
      await page.keyboard.type('re');
      await page.keyboard.press('Control+Space');
      await page.locator('.cm-tooltip-autocomplete').getByText('rewrite').waitFor();
      await page.waitForTimeout(150); // the editor takes no key just after the list opened
      await page.keyboard.press('Enter');
      await editor.locator('.cm-line', { hasText: 'rewrite:' }).waitFor();
      await page.getByRole('button', { name: 'Show the change' }).click();
      await page.locator('.cm-changedLine').first().waitFor();
      await page.getByRole('button', { name: 'Try on the API server' }).click();
      await page.getByText('The API server would accept it.').waitFor();
      await page.keyboard.press('Tab');
      await page.getByRole('button', { name: 'Apply' }).click();
      await page.getByText('VirtualService default/reviews replaced').waitFor();
      await accessible('the toast');
      await page.getByRole('button', { name: 'Undo' }).click();
      await page.getByText('Undone').waitFor();
    },
  ],
  [
    'an object is deleted after a question, and can be had back',
    async () => {
      await page.goto(`${server.url}/config/VirtualService/default/reviews`);
      await page.getByText('refused it: no such cluster').waitFor();
      await page.getByText('DestinationRule default/reviews is missing').waitFor();
      await page.getByRole('button', { name: 'Delete' }).click();
      await page.getByRole('alertdialog').getByRole('button', { name: 'Delete' }).click();
      await page.waitForURL(/\/config$/);
      await page.getByRole('button', { name: 'Undo' }).waitFor();
    },
  ],
  [
    'the traffic wizard says what it would do, and keeps shares at 100 percent',
    async () => {
      await page.goto(`${server.url}/services/default/reviews/traffic`);
      const rule = page.getByRole('group', { name: 'Rule 2' });
      await rule.getByRole('slider').first().fill('90');
      const effects = page.getByRole('region', { name: 'Preview' });
      await effects.getByText('v1 90, v3 10').waitFor();
      await rule.getByLabel('Share in percent').first().fill('80');
      await page.getByText('100 %').first().waitFor();
      await rule.getByRole('button', { name: 'Add a destination' }).click();
      await effects.getByText('v1 34, v3 33, v2 33').waitFor();
      await rule.getByText('Faults').click();
      await page.getByRole('button', { name: 'Add a rule before it' }).click();
      await page.getByRole('group', { name: 'Rule 3' }).waitFor();
      await picture('wizard');
      await effects.getByRole('button', { name: 'Apply' }).click();
      await page.getByText('VirtualService default/reviews replaced').waitFor();
      await page.waitForURL(/\/graph\?find=/);
    },
  ],
  [
    'logging out leads to the login page',
    async () => {
      await page.getByRole('button', { name: 'Log out' }).click();
      await page.getByRole('heading', { name: 'Log in to the console' }).waitFor();
    },
  ],
];

let failed = 0;
try {
  for (const [name, test] of TESTS) {
    if (process.argv[2] && !name.includes(process.argv[2]) && !name.startsWith('a wrong token')) continue;
    errors.length = 0;
    try {
      await test();
      assert.deepEqual(errors, [], 'errors in the console of the browser');
      console.log(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error instanceof Error ? error.message : error}`);
      await picture(`failed-${failed}`);
    }
  }
} finally {
  await close();
  server.close();
}
process.exit(failed ? 1 : 0);
