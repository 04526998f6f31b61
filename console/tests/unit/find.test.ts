import { describe, expect, test } from 'vitest';
import { completions, matches, parse, without } from '../../src/graph/find';
import { text } from '../../src/text';
import { bookinfo } from '../mock/fixtures.mjs';

const graph = bookinfo();
const short = (id: string): string => id.replace(/(\w+):\w[\w-]*\//g, '').replace('unknown:/', '');

/** Names of what an expression matches. */
function found(input: string): string[] {
  const { expression, error } = parse(input);
  if (!expression) return [error];
  const { nodes, edges } = matches(expression, graph);
  return [...nodes, ...edges].map(short);
}

const REVIEWS = ['reviews@v1', 'reviews@v2', 'reviews@v3'];
const INTO_V2 = 'productpage@v1>reviews@v2>http';

describe('an expression finds', () => {
  test.each<[string, string[]]>([
    ['', []],
    ['name = reviews', REVIEWS],
    ['NAME = Reviews', REVIEWS],
    ['name contains view', REVIEWS],
    ['name *= view and version = v2', ['reviews@v2']],
    ['wl ^= reviews', REVIEWS],
    ['workload startswith reviews', REVIEWS],
    ['workload endswith s-v3', ['reviews@v3']],
    ['app $= page', ['productpage@v1']],
    ['ns = istio-system', ['istio-ingressgateway@latest']],
    ['namespace != default', ['unknown', 'istio-ingressgateway@latest']],
    ['! ns = default', ['unknown', 'istio-ingressgateway@latest']],
    ['not name contains e', ['mongodb@v1', 'ratings@v1', 'unknown']],
    ['name !*= e', ['mongodb@v1', 'ratings@v1', 'unknown']],
    ['name not contains o', ['details@v1', ...REVIEWS, 'ratings@v1']],
    ['version = v2 or version = v3', ['reviews@v2', 'reviews@v3']],
    ['name = unknown', ['unknown']],
    ['node = unknown', ['unknown']],
    ['is unknown', ['unknown']],
    ['! healthy', ['reviews@v2', 'reviews@v3']],
    ['!healthy', ['reviews@v2', 'reviews@v3']],
    ['not healthy', ['reviews@v2', 'reviews@v3']],
    ['has cb', ['ratings@v1']],
    ['outofmesh', ['ratings@v1']],
    ['trafficshifting', REVIEWS],
    ['vs', ['productpage@v1', ...REVIEWS]],
    ['gateway', ['istio-ingressgateway@latest']],
    ['httpin > 5', ['istio-ingressgateway@latest', 'productpage@v1', 'details@v1']],
    ['httpin = nan', ['unknown', 'mongodb@v1']],
    ['tcpin > 1000', ['mongodb@v1']],
    ['rank = 1', ['productpage@v1']],
    ['rt > 1000', ['reviews@v3>ratings@v1>http']],
    ['rt = NaN', ['ratings@v1>mongodb@v1>tcp']],
    ['%httperr >= 35', [INTO_V2]],
    ['%httperr > 30%', [INTO_V2]],
    ['%httptraffic < 20 and http > 0', [INTO_V2, 'productpage@v1>reviews@v1>http', 'productpage@v1>reviews@v3>http'].sort()],
    ['protocol = tcp', ['ratings@v1>mongodb@v1>tcp']],
    ['mtls < 100', ['reviews@v3>ratings@v1>http']],
    ['mtls = nan', ['unknown>istio-ingressgateway@latest>http', 'reviews@v2>ratings@v1>http']],
    ['! traffic', []],
    ['rt > 1000 or name = details', ['details@v1', 'reviews@v3>ratings@v1>http']],
  ])('%s', (input, expected) => {
    expect(found(input).sort()).toEqual([...expected].sort());
  });
});

describe('an expression that is wrong says why', () => {
  test.each<[string, string]>([
    ['colour = red', text.find.unknown('colour')],
    ['nonsense', text.find.unknown('nonsense')],
    ['healthy = yes', text.find.alone('healthy')],
    ['name', text.find.value('name')],
    ['rt > fast', text.find.number('responsetime', '>')],
    ['rt > 10 and name = a', text.find.mixed],
    ['name = a and !', text.find.empty],
  ])('%s', (input, error) => {
    expect(parse(input)).toEqual({ expression: null, error });
  });
});

/** What is left after hiding. */
function left(input: string) {
  const { expression } = parse(input);
  const { nodes, edges } = without(expression ?? [], graph);
  return { nodes: nodes.map((node) => short(node.id)), edges: edges.length };
}

describe('hiding', () => {
  test('nothing leaves the graph as it is', () => {
    expect(without([], graph)).toBe(graph);
  });
  test('nodes hides their edges, and nodes that had no others', () => {
    expect(left('name = istio-ingressgateway').nodes).not.toContain('unknown');
  });
  test('edges hides nodes that had no others', () => {
    expect(left('protocol = tcp')).toEqual({ nodes: expect.not.arrayContaining(['mongodb@v1']), edges: 8 });
  });
  test('keeps nodes that never had edges', () => {
    const lone = { ...graph.nodes[0]!, id: 'lone', name: 'lone' };
    const hidden = without(parse('protocol = http').expression ?? [], { ...graph, nodes: [...graph.nodes, lone] });
    expect(hidden.nodes.map((node) => short(node.id))).toEqual(['ratings@v1', 'mongodb@v1', 'lone']);
  });
});

describe('completion', () => {
  test.each([
    ['', 12],
    ['heal', ['healthy']],
    ['rt > 1 and %http', ['rt > 1 and %httperr', 'rt > 1 and %httptraffic']],
    ['! out', ['! outofmesh', '! outside']],
    ['ns = def', []],
    ['healthy', []],
  ])('of %s', (typed, expected) => {
    const found = completions(typed);
    if (typeof expected === 'number') expect(found).toHaveLength(expected);
    else expect(found).toEqual(expected);
  });
});

test('labels of nodes are operands', () => {
  const graph = bookinfo();
  const [first, ...rest] = graph.nodes;
  const labelled = { ...graph, nodes: [{ ...first!, labels: { 'app.kubernetes.io/name': 'shop' } }, ...rest] };
  const parsed = parse('label:app.kubernetes.io/name = shop');
  expect([...matches(parsed.expression!, labelled).nodes]).toEqual([first!.id]);
  expect(matches(parse('label:app.kubernetes.io/name = nan').expression!, labelled).nodes.size).toBe(rest.length);
});
