/** The graph as files: JSON as the server gave it, pictures that need no style sheet, and the languages of Graphviz and Mermaid. */
import type { Graph } from '../api/contract.gen';
import type { LabelKind } from '../options';
import type { Format } from './Toolbar';
import type { ShownGraph } from './collapse';
import { kindOf, labelOf, nameOf, toneOf } from './labels';
import { type Layout, type Placed, SIZE, boxOf } from './layout';
import { curve } from './path';
import { SHAPES, SIGNS } from './shapes';

const COLOURS: Record<string, string> = {
  healthy: '#3d7317',
  degraded: '#b98412',
  failure: '#b1380b',
  notready: '#4d4d4d',
  na: '#707070',
  idle: '#a3a3a3',
  tcp: '#0066cc',
};
const MARGIN = 40;

const escaped = (words: string): string => words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const colour = (tone: string): string => COLOURS[tone] ?? '#707070';

/** The picture of a placed graph. Pure. */
export function svgOf(graph: ShownGraph, layout: Layout, labels: LabelKind): string {
  const centres = new Map<string, { x: number; y: number }>();
  const out: string[] = [];
  let [width, height] = [0, 0];
  const boxes = new Map<string, Placed>();
  for (const node of graph.nodes) {
    const place = layout.places.get(node.id);
    if (!place) continue;
    const group = layout.groups.get(node.id) ?? '';
    const box = group ? layout.places.get(boxOf(group)) : undefined;
    if (box) boxes.set(group, box);
    const [x, y] = [place.x + (box?.x ?? 0), place.y + (box?.y ?? 0)];
    centres.set(node.id, { x: x + SIZE / 2, y: y + SIZE / 2 });
    width = Math.max(width, x + SIZE + MARGIN, (box?.x ?? 0) + (box?.width ?? 0));
    height = Math.max(height, y + SIZE + MARGIN, (box?.y ?? 0) + (box?.height ?? 0));
  }
  for (const [group, box] of boxes) {
    out.push(`<rect x="${box.x}" y="${box.y}" width="${box.width}" height="${box.height}" rx="8" fill="#f5f5f5" stroke="#c7c7c7"/>`);
    out.push(`<text x="${box.x + 12}" y="${box.y + 22}" font-weight="bold">${escaped(group)}</text>`);
  }
  for (const edge of graph.edges) {
    const [source, target] = [centres.get(edge.source), centres.get(edge.target)];
    if (!source || !target) continue;
    const { d, middle } = curve(source, target, layout.routes.get(edge.id));
    const tone = toneOf(edge);
    out.push(`<path d="${d}" fill="none" stroke="${colour(tone)}" stroke-width="2" marker-end="url(#${tone})"/>`);
    const words = labelOf(edge, labels);
    if (words)
      out.push(
        `<text x="${middle.x}" y="${middle.y}" text-anchor="middle" stroke="#fff" stroke-width="4" paint-order="stroke">${escaped(words)}</text>`,
      );
  }
  for (const node of graph.nodes) {
    const centre = centres.get(node.id);
    if (!centre) continue;
    const tone = node.idle ? 'idle' : node.health.status.toLowerCase();
    const [x, y] = [centre.x - SIZE / 2, centre.y - SIZE / 2];
    out.push(
      `<g transform="translate(${x} ${y})"><path d="${SHAPES[kindOf(node)]}" fill="#fff" stroke="${colour(tone)}" stroke-width="3"/>`,
    );
    out.push(`<text x="22" y="28" text-anchor="middle">${SIGNS[kindOf(node)]}</text>`);
    out.push(`<text x="22" y="60" text-anchor="middle">${escaped(nameOf(node))}</text></g>`);
  }
  const arrows = Object.entries(COLOURS).map(
    ([tone, fill]) =>
      `<marker id="${tone}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0L10 5L0 10z" fill="${fill}"/></marker>`,
  );
  const view = `${-MARGIN} ${-MARGIN} ${width + 2 * MARGIN} ${height + 2 * MARGIN}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${view}" font-family="sans-serif" font-size="13"><defs>${arrows.join('')}</defs><rect x="${-MARGIN}" y="${-MARGIN}" width="100%" height="100%" fill="#fff"/>${out.join('')}</svg>\n`;
}

const quoted = (words: string): string => `"${words.replaceAll('"', "'").replaceAll('\n', ' ')}"`;

/** The graph in Graphviz' language. Pure. */
export function dotOf(graph: ShownGraph, labels: LabelKind): string {
  const nodes = graph.nodes.map((node) => `  ${quoted(node.id)} [label=${quoted(nameOf(node))}, tooltip=${quoted(node.namespace)}];`);
  const edges = graph.edges.map((edge) => {
    const words = labelOf(edge, labels);
    return `  ${quoted(edge.source)} -> ${quoted(edge.target)} [color="${colour(toneOf(edge))}"${words ? `, label=${quoted(words)}` : ''}];`;
  });
  return `digraph mesh {\n  rankdir=LR;\n${[...nodes, ...edges].join('\n')}\n}\n`;
}

/** The graph in Mermaid's language. Pure. */
export function mermaidOf(graph: ShownGraph, labels: LabelKind): string {
  const numbers = new Map(graph.nodes.map((node, index) => [node.id, `n${index}`]));
  const nodes = graph.nodes.map((node) => `  ${numbers.get(node.id)}[${quoted(nameOf(node))}]`);
  const edges = graph.edges.map((edge) => {
    const words = labelOf(edge, labels);
    return `  ${numbers.get(edge.source)} -->${words ? `|${quoted(words)}|` : ''} ${numbers.get(edge.target)}`;
  });
  return `flowchart LR\n${[...nodes, ...edges].join('\n')}\n`;
}

/** Saves a graph as a file. */
export function save(format: Format, graph: Graph, shown: ShownGraph, layout: Layout, labels: LabelKind): void {
  const svg = (): string => svgOf(shown, layout, labels);
  if (format === 'json') download('json', 'application/json', `${JSON.stringify(graph, null, 1)}\n`);
  else if (format === 'dot') download('dot', 'text/vnd.graphviz', dotOf(shown, labels));
  else if (format === 'mermaid') download('mmd', 'text/plain', mermaidOf(shown, labels));
  else if (format === 'svg') download('svg', 'image/svg+xml', svg());
  else if (format === 'png') rasterize(svg());
}

const SCALE = 2; // pixels for each unit of the picture

/** Draws an SVG into a PNG, in the browser. */
function rasterize(svg: string): void {
  const [, , width = 0, height = 0] = (/viewBox="([^"]*)"/.exec(svg)?.[1] ?? '').split(' ').map(Number);
  const image = new Image(width * SCALE, height * SCALE);
  image.onload = () => {
    const canvas = document.createElement('canvas');
    canvas.width = width * SCALE;
    canvas.height = height * SCALE;
    canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((blob) => blob && download('png', 'image/png', blob));
  };
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`; // the page's policy takes no other pictures
}

function download(suffix: string, type: string, body: string | Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([body], { type }));
  link.download = `sailcloth-graph.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
