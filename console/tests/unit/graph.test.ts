import { describe, expect, test } from 'vitest';
import { arrange } from '../../src/graph/arrange';
import { LIMIT, around, collapse, opened, toggled } from '../../src/graph/collapse';
import { apply } from '../../src/graph/delta';
import { dotOf, mermaidOf } from '../../src/graph/export';
import { boxOf, groupsOf } from '../../src/graph/layout';
import { curve } from '../../src/graph/path';
import { pointsOf } from '../../src/graph/points';
import { traced } from '../../src/graph/traced';
import { bookinfo, dense, large, next } from '../mock/fixtures.mjs';

describe('a delta', () => {
  test('turns a graph into the next one', () => {
    const before = bookinfo();
    const { graph, delta } = next(before);
    expect(apply(before, delta)).toEqual(graph);
  });
  test('leaves what did not change as the same objects', () => {
    const before = bookinfo();
    const after = apply(before, next(before).delta);
    const same = after?.nodes.filter((node, index) => node === before.nodes[index]).map((node) => node.name);
    expect(same).toContain('details');
    expect(same).not.toContain('productpage');
  });
  test('adds and removes', () => {
    const before = bookinfo();
    const [first, ...rest] = before.nodes;
    const added = { ...first!, id: 'new' };
    const after = apply(before, {
      ...next(before).delta,
      nodes: [added],
      edges: [],
      removedNodes: [first!.id],
      removedEdges: [before.edges[0]!.id],
    });
    expect(after?.nodes).toEqual([...rest, added]);
    expect(after?.edges).toEqual(before.edges.slice(1));
  });
  test('of another graph is refused', () => {
    const before = bookinfo();
    expect(apply(before, { ...next(before).delta, since: before.number + 1 })).toBeNull();
  });
});

describe('collapsing', () => {
  const graph = large();
  test('starts above the limit of edges only', () => {
    expect(graph.edges.length).toBeGreaterThan(LIMIT);
    expect(opened(graph, '').size).toBe(0);
    expect(opened(bookinfo(), '')).toEqual(new Set(['istio-system', 'default']));
  });
  test.each([
    ['*', 'all', 12],
    ['-', 'none', 0],
    ['team-1,team-2,gone', 'some', 2],
  ])('%s opens %s', (open, _, count) => {
    expect(opened(graph, open).size).toBe(count);
  });
  test('opening and closing changes the option', () => {
    expect(toggled(graph, '', 'team-2')).toBe('team-2');
    expect(toggled(graph, 'team-2', 'team-1')).toBe('team-1,team-2');
    expect(toggled(graph, 'team-2', 'team-2')).toBe('-');
  });
  test('adds up what goes between namespaces, and keeps the worst health', () => {
    const { nodes, edges } = collapse(graph, new Set());
    expect(nodes.map((node) => node.members?.length)).toEqual(Array(12).fill(6));
    expect(new Set(edges.map((edge) => edge.id)).size).toBe(edges.length);
    const [one, two] = ['namespace:team-1', 'namespace:team-2'];
    const between = edges.find((edge) => edge.source === one && edge.target === two);
    const parts = graph.edges.filter((edge) => edge.source.includes('team-1/') && edge.target.includes('team-2/'));
    expect(between?.traffic.rate).toBeCloseTo(parts.reduce((sum, edge) => sum + edge.traffic.rate, 0));
    const broken = nodes.find((node) => node.health.status === 'Failure');
    expect(broken?.members?.[0]?.health.status).toBe('Failure');
  });
  test('keeps what is in open namespaces, and nodes without one', () => {
    const { nodes, edges } = collapse(bookinfo(), new Set(['istio-system']));
    expect(nodes.map((node) => node.name)).toEqual(['unknown', 'istio-ingressgateway', 'default']);
    expect(edges).toHaveLength(2);
  });
  test('of nothing is the graph itself', () => {
    const all = bookinfo();
    expect(collapse(all, opened(all, ''))).toBe(all);
  });
});

describe('the curve of an edge', () => {
  const [a, b] = [
    { x: 0, y: 0 },
    { x: 200, y: 0 },
  ];
  test('follows the route of the layout', () => {
    const route = [
      { x: 22, y: 0 },
      { x: 80, y: 30 },
      { x: 120, y: 30 },
      { x: 178, y: 0 },
    ];
    expect(curve(a, b, route)).toEqual({ d: 'M22.0 0.0 C80.0 30.0 120.0 30.0 178.0 0.0', middle: { x: 100, y: 22.5 } });
  });
  test('is a line between two points, and smooth through other counts', () => {
    const [start, end] = [
      { x: 22, y: 0 },
      { x: 178, y: 0 },
    ];
    expect(curve(a, b, [start, end])).toEqual({ d: 'M22.0 0.0 L178.0 0.0', middle: { x: 100, y: 0 } });
    expect(curve(a, b, [start, { x: 60, y: 40 }, { x: 140, y: 40 }, { x: 170, y: 20 }, end])).toEqual({
      d: 'M22.0 0.0 Q60.0 40.0 100.0 40.0 Q140.0 40.0 155.0 30.0 Q170.0 20.0 178.0 0.0',
      middle: { x: 155, y: 30 },
    });
  });
  test('is its own after a node was moved', () => {
    expect(
      curve(a, b, [
        { x: 22, y: 0 },
        { x: 400, y: 0 },
      ]).d,
    ).toMatch(/^M22.0 0.0 Q/);
  });
  test('of a node to itself is a loop', () => {
    expect(curve(a, a, undefined).d).toMatch(/^M-8.0 -22.0 C/);
  });
});

describe('focus', () => {
  test('shows a node, its neighbours, and the edges between', () => {
    const graph = bookinfo();
    const node = graph.nodes.find((one) => one.name === 'ratings')!;
    const near = around(graph, node.id);
    expect(near.edges.length).toBeGreaterThan(0);
    expect(near.edges.every((edge) => edge.source === node.id || edge.target === node.id)).toBe(true);
    expect(near.nodes.length).toBeLessThan(graph.nodes.length);
    expect(around(graph, 'gone')).toBe(graph);
  });
});

describe('exports', () => {
  test('Graphviz and Mermaid have every node and edge', () => {
    const graph = bookinfo();
    const dot = dotOf(graph, 'rate');
    expect(dot.match(/ -> /g)).toHaveLength(graph.edges.length);
    expect(dot).toMatch(/^digraph mesh \{/);
    const mermaid = mermaidOf(graph, 'none');
    expect(mermaid.match(/-->/g)).toHaveLength(graph.edges.length);
    expect(mermaid.split('\n').filter((line) => /^ {2}n\d+\[/.test(line))).toHaveLength(graph.nodes.length);
  });
  test('names cannot break out of their quotes', () => {
    const graph = bookinfo();
    const evil = { ...graph, edges: [], nodes: [{ ...graph.nodes[0]!, name: 'a"]\n  x -> y', app: '', version: '' }] };
    expect(dotOf(evil, 'none').split('\n')).toHaveLength(5);
    expect(mermaidOf(evil, 'none').split('\n')).toHaveLength(3);
  });
});

describe('the arrangement of a large graph', () => {
  const graph = dense(200, 800);
  const groups = groupsOf(graph, 'namespace');
  const first = arrange(graph, groups, null);
  test('has each node in its box, and no two at one place', () => {
    const at = graph.nodes.map((node) => {
      const [place, box] = [first.places.get(node.id)!, first.places.get(boxOf(node.namespace))!];
      expect(place.x + place.width).toBeLessThan(box.width);
      expect(place.y + place.height).toBeLessThan(box.height);
      return `${box.x + place.x} ${box.y + place.y}`;
    });
    expect(new Set(at).size).toBe(200);
  });
  test('keeps known nodes where they are when others come and go', () => {
    const [gone, ...rest] = graph.nodes;
    const fresh = { ...gone!, id: 'fresh' };
    const changed = { ...graph, nodes: [...rest, fresh] };
    const second = arrange(changed, groupsOf(changed, 'namespace'), first);
    for (const node of rest) expect(second.places.get(node.id)).toEqual(first.places.get(node.id));
    expect(second.places.get('fresh')).toEqual(first.places.get(gone!.id));
  });
  test('is the same for the same graph in another order', () => {
    const turned = { ...graph, nodes: [...graph.nodes].reverse() };
    expect(arrange(turned, groups, null).places).toEqual(first.places);
  });
});

describe('boxes', () => {
  test.each([
    ['namespace', ['default', 'istio-system']],
    ['app', ['default/reviews']],
    ['none', []],
  ] as const)('of %s', (kind, names) => {
    expect([...new Set(groupsOf(bookinfo(), kind).values())].sort()).toEqual(names);
  });
});

test('points along a curve go from end to end', () => {
  const points = pointsOf(curve({ x: 0, y: 0 }, { x: 200, y: 0 }, undefined).d);
  expect([points[0], points.at(-1)]).toEqual([{ x: 22, y: 0 }, { x: 176, y: 0 }]);
  expect(points.every((point, index) => index === 0 || point.x > points[index - 1]!.x)).toBe(true);
});

describe('a trace in the graph', () => {
  const span = (depth: number, service: string, kind: string, operation = '', node = '') => ({
    id: '', parent: '', depth, service, kind, operation, start: 0, duration: 1, error: false, tags: { node_id: node },
  });
  const spans = [
    span(0, 'productpage.default', 'server'),
    span(1, 'productpage.default', 'client', 'reviews.default.svc.cluster.local:9080/*'),
    span(2, 'reviews.default', 'server', '', 'sidecar~10.0.0.1~reviews-v2-abc.default~x'),
    span(1, 'productpage.default', 'client', 'details.default.svc.cluster.local:9080/*'),
    span(2, 'details.default', 'server'),
  ];
  const trace = { id: '1', start: 0, duration: 1, spans };
  const named = (ids: Set<string>) => [...ids].map((id) => id.replaceAll('app:default/', '')).sort();
  test('marks the versions whose proxies made spans, and the edges of its calls', () => {
    const found = traced(trace, bookinfo());
    expect(named(found.nodes)).toEqual(['details@v1', 'productpage@v1', 'reviews@v2']);
    expect(named(found.edges)).toEqual(['productpage@v1>details@v1>http', 'productpage@v1>reviews@v2>http']);
  });
  test('passes through service nodes', () => {
    const graph = bookinfo();
    const page = graph.nodes.find((node) => node.name === 'productpage')!;
    const service = { ...page, id: 'service', kind: 'service' as const, name: 'reviews', app: '', workload: '', version: '' };
    const two = graph.nodes.find((node) => node.version === 'v2')!;
    const edge = graph.edges[0]!;
    const edges = [
      { ...edge, id: 'in', source: page.id, target: 'service' },
      { ...edge, id: 'out', source: 'service', target: two.id },
    ];
    expect([...traced(trace, { ...graph, nodes: [page, service, two], edges }).edges].sort()).toEqual(['in', 'out']);
  });
  test('that is elsewhere marks nothing', () => {
    expect(traced(trace, large())).toEqual({ nodes: new Set(), edges: new Set() });
  });
});
