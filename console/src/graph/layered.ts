/** Places nodes in layers and routes edges between them, with ELK in a worker. */
import type { ElkExtendedEdge, ElkNode } from 'elkjs/lib/elk-api.js';
import type { ShownGraph } from './collapse';
import { solve } from './elk';
import { type Groups, type Layout, type Placed, type Point, SIZE, boxOf, keyOf } from './layout';

const LABEL = { width: 112, height: 36 };
const MANY = 100; // edges, from which crossings are looked for less often

const OPTIONS = {
  'elk.algorithm': 'layered',
  'elk.direction': 'RIGHT',
  'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
  'elk.edgeRouting': 'SPLINES',
  'elk.json.edgeCoords': 'ROOT',
  'elk.layered.spacing.nodeNodeBetweenLayers': '90',
  'elk.layered.spacing.edgeNodeBetweenLayers': '24',
  'elk.spacing.nodeNode': '40',
  'elk.spacing.edgeNode': '24',
  'elk.spacing.componentComponent': '60',
  'elk.layered.considerModelOrder.strategy': 'NONE',
};

/** The layout of a graph. Rejects if ELK cannot place it. */
export async function layered(graph: ShownGraph, groups: Groups): Promise<Layout> {
  const boxes = new Map<string, ElkNode[]>();
  const loose: ElkNode[] = [];
  for (const node of [...graph.nodes].sort((a, b) => a.id.localeCompare(b.id))) {
    const placed: ElkNode = {
      id: node.id,
      width: SIZE,
      height: SIZE,
      labels: [{ text: node.name, ...LABEL }],
      layoutOptions: { 'elk.nodeLabels.placement': 'OUTSIDE V_BOTTOM H_CENTER' },
    };
    const group = groups.get(node.id);
    if (!group) loose.push(placed);
    else boxes.set(group, [...(boxes.get(group) ?? []), placed]);
  }
  const children: ElkNode[] = [...boxes].map(([group, list]) => ({
    id: boxOf(group),
    children: list,
    layoutOptions: { 'elk.padding': '[top=48,left=48,bottom=28,right=48]' },
  }));
  const edges: ElkExtendedEdge[] = [...graph.edges]
    .sort((a, b) => a.id.localeCompare(b.id))
    .map((edge) => ({ id: edge.id, sources: [edge.source], targets: [edge.target] }));
  const thoroughness = graph.edges.length > MANY ? '3' : '7'; // 7 is ELK's own
  const done = await solve({ id: 'root', layoutOptions: { ...OPTIONS, 'elk.layered.thoroughness': thoroughness }, children: [...children, ...loose], edges });
  return { key: keyOf(graph, groups), groups, places: placesOf(done), routes: routesOf(done), arranged: false };
}

function placesOf(root: ElkNode): Map<string, Placed> {
  const out = new Map<string, Placed>();
  const visit = (node: ElkNode): void => {
    for (const child of node.children ?? []) {
      out.set(child.id, { x: child.x ?? 0, y: child.y ?? 0, width: child.width ?? SIZE, height: child.height ?? SIZE });
      visit(child);
    }
  };
  visit(root);
  return out;
}

function routesOf(root: ElkNode): Map<string, Point[]> {
  const out = new Map<string, Point[]>();
  for (const edge of (root.edges ?? []) as ElkExtendedEdge[]) {
    const section = edge.sections?.[0];
    if (section) out.set(edge.id, [section.startPoint, ...(section.bendPoints ?? []), section.endPoint]);
  }
  return out;
}
