/** Places nodes with ELK in a worker. The layout depends on what is connected only, never on numbers: it is made anew
 * when nodes, edges or boxes come or go. */
import type { ElkExtendedEdge, ElkNode } from 'elkjs/lib/elk-api.js';
import type { ShownGraph } from './collapse';
import { solve } from './elk';

export const SIZE = 44; // of a node's shape
const LABEL = { width: 112, height: 36 };

export interface Point {
  x: number;
  y: number;
}
export interface Placed extends Point {
  width: number;
  height: number;
}
export interface Layout {
  key: string;
  /** Of nodes and boxes (`box:<namespace>`); a node in a box is placed relative to it. */
  places: Map<string, Placed>;
  /** Of edges, from end to end: a start, then three points for each cubic curve. */
  routes: Map<string, Point[]>;
}

/** The id of a namespace's box. */
export const boxOf = (namespace: string): string => `box:${namespace}`;

/** What a layout depends on. */
export function keyOf(graph: ShownGraph): string {
  const nodes = graph.nodes.map((node) => `${node.id}${node.members ? '' : `|${node.namespace}`}`).sort();
  return [...nodes, ...graph.edges.map((edge) => edge.id).sort()].join('\n');
}

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

/** The layout of a graph. */
export async function layout(graph: ShownGraph): Promise<Layout> {
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
    if (!node.namespace || node.members) loose.push(placed);
    else boxes.set(node.namespace, [...(boxes.get(node.namespace) ?? []), placed]);
  }
  const children: ElkNode[] = [...boxes].map(([namespace, list]) => ({
    id: boxOf(namespace),
    children: list,
    layoutOptions: { 'elk.padding': '[top=48,left=48,bottom=28,right=48]' },
  }));
  const edges: ElkExtendedEdge[] = [...graph.edges]
    .sort((a, b) => a.id.localeCompare(b.id))
    .map((edge) => ({ id: edge.id, sources: [edge.source], targets: [edge.target] }));
  const done = await solve({ id: 'root', layoutOptions: OPTIONS, children: [...children, ...loose], edges });
  return { key: keyOf(graph), places: placesOf(done), routes: routesOf(done) };
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
