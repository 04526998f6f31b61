// Objects, forms and changes of the mock server.
const YAML = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
  generation: 7
spec:
  hosts:
  - reviews
  http:
  - timeout: 1s
    route:
    - destination:
        host: reviews
        subset: v1
`;
const item = {
  kind: 'VirtualService',
  apiVersion: 'networking.istio.io/v1',
  namespace: 'default',
  name: 'reviews',
  accepted: true,
  reason: 'Accepted',
  message: '',
  proxies: '6/6 proxies',
  created: '2026-11-30T08:00:00Z',
  errors: 0,
  warnings: 0,
};
export const object = {
  item,
  yaml: YAML,
  markers: [],
  conditions: [
    { type: 'Accepted', status: 'True', reason: 'Accepted', message: '', since: '2026-11-30T08:00:00Z' },
    { type: 'Programmed', status: 'False', reason: 'Refused', message: '5/6 proxies', since: '2026-11-30T08:00:00Z' },
  ],
  references: [
    { kind: 'Service', namespace: 'default', name: 'reviews', what: 'sends to', exists: true },
    { kind: 'DestinationRule', namespace: 'default', name: 'reviews', what: 'has subset v1', exists: false },
  ],
  delivery: {
    received: 1_796_053_319,
    computedMs: 0.984,
    answers: [
      { proxy: 'ratings-v1-1.default', ms: 12, error: 'no such cluster' },
      { proxy: 'reviews-v2-1.default', ms: 11.4, error: '' },
    ],
    waiting: ['details-v1-1.default'],
  },
  mayUpdate: true,
  mayDelete: true,
  form: 'traffic',
  formProblem: '',
};
const text = { type: 'string' };
export const schema = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      properties: {
        hosts: { type: 'array', items: text, description: 'Hosts that the rules are for.' },
        http: { type: 'array', items: { type: 'object', properties: { timeout: text, rewrite: { type: 'object' } } } },
      },
    },
  },
};
export const forms = [
  {
    name: 'mutual-tls',
    title: 'Mutual TLS',
    help: 'Whether proxies demand mutual TLS from callers.',
    kind: 'PeerAuthentication',
    fields: [
      { name: 'workload', label: 'Workloads with labels', type: 'labels', choices: [], default: null, required: false, help: 'Such as app=reviews.' },
      { name: 'mode', label: 'Mode', type: 'choice', choices: ['STRICT', 'PERMISSIVE'], default: 'STRICT', required: true, help: '' },
      { name: 'port', label: 'Port', type: 'number', choices: [], default: null, required: false, help: '' },
      { name: 'hosts', label: 'Hosts', type: 'list', choices: [], default: null, required: false, help: '' },
      { name: 'redirect', label: 'Redirect', type: 'boolean', choices: [], default: null, required: false, help: '' },
    ],
  },
];
const target = (/** @type {string} */ subset, /** @type {number} */ weight) => ({ host: 'reviews', subset, port: 0, weight });
const POLICY = Object.fromEntries(
  [
    'loadBalancer', 'hashHeader', 'hashCookie', 'hashCookieTtl', 'hashQueryParam', 'hashSourceIp', 'maxConnections', 'connectTimeout',
    'maxPendingRequests', 'maxRequests', 'maxRequestsPerConnection', 'maxRetries', 'consecutiveErrors', 'consecutiveGatewayErrors',
    'outlierInterval', 'baseEjectionTime', 'maxEjectionPercent', 'tlsMode',
  ].map((name) => [name, null]),
);
const HTTP = {
  name: null, timeout: '1s', attempts: null, perTryTimeout: null, retryOn: null, delay: '2s', delayPercent: 10, abortStatus: null,
  abortPercent: null, mirror: null, mirrorPercent: null,
};
export const traffic = {
  namespace: 'default',
  service: 'reviews',
  rules: {
    hosts: ['reviews'],
    gateways: [],
    http: [
      { ...HTTP, matches: [[{ part: 'header', operator: 'exact', name: 'end-user', value: 'jason' }]], targets: [target('v2', 0)] },
      { ...HTTP, matches: [], targets: [target('v1', 50), target('v3', 50)] },
    ],
    tcp: [],
    policy: POLICY,
    subsets: ['v1', 'v2', 'v3'].map((name) => ({ name, labels: { version: name } })),
  },
  versions: ['v1', 'v2', 'v3'].map((name) => ({ name, labels: { version: name } })),
  gateways: ['default/bookinfo-gateway'],
  ports: [9080],
  objects: [{ kind: 'VirtualService', namespace: 'default', name: 'reviews' }],
  problem: '',
};

/** What is wrong in a text: the mock knows one word. @param {string} yaml */
function markers(yaml) {
  const line = yaml.split('\n').findIndex((one) => one.includes('hosst')) + 1;
  return line
    ? [{ line, severity: 'Error', code: 'SAIL0001', path: 'spec.hosst', text: 'unknown field "hosst".', fix: 'Use hosts.' }]
    : [];
}

const decision = { decision: 'deny', action: 'ALLOW', policy: 'default/reviews', rule: null, reason: 'no rule of an ALLOW policy matches' };
const explanation = {
  proxy: 'productpage-v1-1.default', host: 'reviews:9080', port: 9080, path: '/reviews/0', outcome: 'It goes to reviews v1 (80 %), reviews v3 (20 %).',
  status: 0, listener: '0.0.0.0_9080', filterChain: '', routeConfig: '9080', virtualHost: 'reviews.default.svc.cluster.local:9080', route: '',
  object: 'VirtualService default/reviews',
  skipped: [{ name: '', object: 'VirtualService default/reviews', reason: 'header end-user must be jason, and is missing' }],
  destinations: [
    {
      cluster: 'outbound|9080|v1|reviews', host: 'reviews', port: 9080, subset: 'v1', share: 80, rule: 'DestinationRule default/reviews',
      endpoints: [{ address: '10.0.0.1:9080', workload: 'default/reviews-v1', health: 'HEALTHY', locality: '', mutualTls: true }],
      allowed: { 'default/reviews-v1': decision }, problem: '',
    },
    { cluster: 'outbound|9080|v3|reviews', host: 'reviews', port: 9080, subset: 'v3', share: 20, rule: '', endpoints: [], allowed: {}, problem: 'no healthy endpoint' },
  ],
  location: '', rewritten: '', timeout: '2s', retries: '2 on 5xx', faults: ['10 % wait 2s first'], mirrors: [],
};

/** @type {Record<string, (body: any) => unknown>} */
export const POSTS = {
  '/api/explain': () => explanation,
  '/api/config/check': ({ yaml }) => markers(yaml),
  '/api/config/apply': ({ yaml, delete: gone, dryRun }) => {
    const wrong = markers(yaml);
    const done = wrong.length ? [] : [gone.length ? 'VirtualService default/reviews deleted' : 'VirtualService default/reviews replaced'];
    return { done, markers: wrong, yaml, stopped: '', undo: dryRun || wrong.length ? null : { yaml: YAML, delete: [], dryRun: false } };
  },
  '/api/forms/traffic': ({ rules }) => ({
    change: { yaml: YAML.replace('1s', rules.http[0]?.timeout ?? '9s'), delete: [], dryRun: false },
    before: YAML,
    effects: [`${rules.http.length} rules.`, ...rules.http.map((/** @type {any} */ rule) => `  ${rule.targets.map((/** @type {any} */ one) => `${one.subset} ${one.weight}`).join(', ')}`)],
    markers: [],
    observed: null,
    refused: [],
  }),
  '/api/forms/object': ({ name, values }) => ({
    change: { yaml: `kind: PeerAuthentication\nmetadata:\n  name: ${name}\nspec:\n  mtls:\n    mode: ${values.mode}\n`, delete: [], dryRun: false },
    before: '',
    effects: ['It applies to reviews-v1.'],
    markers: [],
    observed: null,
    refused: [],
  }),
  '/api/forms/observed': ({ name }) => ({
    change: { yaml: `kind: AuthorizationPolicy\nmetadata:\n  name: ${name}\n`, delete: [], dryRun: false },
    before: '',
    effects: ['120 requests observed'],
    markers: [],
    observed: 120,
    refused: [{ source: '10.0.0.7', method: 'GET', path: '/reviews/0', reason: 'no rule of an ALLOW policy matches', count: 3 }],
  }),
};

export const mesh = {
  version: '1.30.0',
  components: [
    { kind: 'controlPlane', name: 'istiod', namespace: 'istio-system', status: 'Degraded', detail: '6 of 7 proxies have the latest configuration' },
    { kind: 'gateway', name: 'istio-ingressgateway', namespace: 'istio-system', status: 'Healthy', detail: '1 of 1 available' },
    { kind: 'dataPlane', name: 'default', namespace: 'default', status: 'Degraded', detail: '6 proxies, without a sidecar: plain' },
    { kind: 'telemetry', name: 'prometheus', namespace: 'istio-system', status: 'Healthy', detail: 'metrics, traces and logs are answered' },
  ],
  proxies: [
    { name: 'reviews-v1-1', namespace: 'default', version: '1.30.0', connected: '2026-11-30T08:00:00Z', types: { CDS: 'SYNCED', LDS: 'SYNCED' }, errors: {} },
    { name: 'ratings-v1-1', namespace: 'default', version: '1.30.0', connected: '2026-11-30T08:00:00Z', types: { CDS: 'ERROR', LDS: 'STALE' }, errors: { CDS: 'no such certificate' } },
  ],
  changes: [
    { received: 1_796_053_319, objects: ['VirtualService default/reviews'], computedMs: 1, lastMs: 12.5, proxies: 6, refused: 1, waiting: 0 },
  ],
  certificates: [{ name: 'issuer O=cluster.local', ends: 2_111_000_000 }],
  certificateProblems: ['the root ends in 20 days'],
  pushMs: 12.5,
  options: 'accessLogFile: /dev/stdout\n',
};

export const unresolved = [
  {
    cluster: 'PassthroughCluster',
    host: 'api.example.com',
    address: '203.0.113.9',
    port: 443,
    count: 12,
    sources: ['default/productpage-v1-1'],
    values: { hosts: ['api.example.com'], protocol: 'HTTP', port: 443, portName: 'http' },
  },
];

/** @type {import('../../src/api/contract.gen').RuleUse} */
export const use = {
  looked: 1234,
  routes: [
    { name: 'canary', destinations: ['reviews.default v2'], requests: 0, shared: false },
    { name: '', destinations: ['reviews.default v1'], requests: 1200, shared: false },
    { name: '', destinations: [], requests: null, shared: false },
  ],
};
