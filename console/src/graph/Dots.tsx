/** Dots that move along the edges, on a canvas over the graph: as elements of SVG they would have every line drawn again with every frame. */
import { useStoreApi } from '@xyflow/react';
import { useEffect, useRef } from 'react';
import type { MeshEdge } from './elements';
import { isIdle, isTcp, toneOf } from './labels';
import { type Point, SIZE } from './layout';
import { curve } from './path';
import { pointsOf } from './points';

const FASTEST_S = 1;
const SLOWEST_S = 8;
const MOST_DOTS = 4;

/** How dots move along an edge. Seconds and counts are in steps, so that small changes do not start them anew. */
function motion(rate: number): { seconds: number; dots: number } {
  const step = Math.max(0, Math.round(Math.log2(1 + rate)));
  return { seconds: Math.max(FASTEST_S, SLOWEST_S / (1 + step * 0.6)), dots: Math.min(MOST_DOTS, 1 + Math.floor(step / 2)) };
}

interface Line {
  edge: MeshEdge;
  ends: string;
  points: Point[];
}

export default function Dots({ edges }: { edges: MeshEdge[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const store = useStoreApi();
  useEffect(() => {
    const area = canvas.current;
    const context = area?.getContext('2d');
    if (!area || !context) return;
    const moving = edges.filter((edge) => edge.data && !isIdle(edge.data.edge));
    const lines: Line[] = moving.map((edge) => ({ edge, ends: '', points: [] }));
    const style = getComputedStyle(area);
    let frame = 0;
    const draw = (now: number): void => {
      frame = requestAnimationFrame(draw);
      const { nodeLookup, transform, width, height } = store.getState();
      const ratio = window.devicePixelRatio;
      if (area.width !== width * ratio || area.height !== height * ratio) [area.width, area.height] = [width * ratio, height * ratio];
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const [left, top, zoom] = transform;
      const colours = new Map<string, string>(); // of this frame: the theme may change
      const colourOf = (tone: string): string => {
        if (!colours.has(tone)) colours.set(tone, style.getPropertyValue(`--sc-${tone}`));
        return colours.get(tone) ?? '';
      };
      for (const line of lines) {
        const { edge, route, tone } = line.edge.data ?? {};
        const [source, target] = [line.edge.source, line.edge.target].map((id) => nodeLookup.get(id)?.internals);
        if (!edge || !source || !target) continue;
        const [from, to] = [source, target].map(({ positionAbsolute: { x, y } }) => ({ x: x + SIZE / 2, y: y + SIZE / 2 })) as [Point, Point];
        const ends = `${from.x} ${from.y} ${to.x} ${to.y}`;
        if (line.ends !== ends) [line.ends, line.points] = [ends, pointsOf(curve(from, to, route).d)];
        const { seconds, dots } = motion(isTcp(edge) ? edge.traffic.bytes / 1000 : edge.traffic.rate);
        const wrong = edge.traffic.errorShare > 0 ? Math.max(1, Math.round(edge.traffic.errorShare * dots)) : 0;
        context.globalAlpha = tone === 'dimmed' ? 0.25 : 1;
        for (let index = 0; index < dots; index += 1) {
          const at = ((now / 1000 / seconds + index / dots) % 1) * (line.points.length - 1);
          const [a, b] = [line.points[Math.floor(at)], line.points[Math.ceil(at)]];
          if (!a || !b) continue;
          const x = left + zoom * (a.x + (b.x - a.x) * (at % 1));
          const y = top + zoom * (a.y + (b.y - a.y) * (at % 1));
          if (x < 0 || y < 0 || x > width || y > height) continue;
          const size = Math.max(1.2, (index < wrong ? 4.2 : 3.2) * zoom);
          context.fillStyle = colourOf(index < wrong ? 'failure' : toneOf(edge));
          context.beginPath();
          context.arc(x, y, size, 0, 7);
          context.fill();
        }
      }
    };
    frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  }, [edges, store]);
  return <canvas ref={canvas} className="sc-dots" aria-hidden />;
}
