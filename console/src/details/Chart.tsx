import { Card } from '../pages/Card';
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { Link } from 'react-router';
import type { Chart } from '../api/contract.gen';
import { bytes, clock, duration, rate, throughput } from '../format';
import { details as text } from '../text.details';
import { PlainTable } from './Table';
import { legend } from './legend';
import type { Dot } from './traceView';

const HEIGHT = 180;
const NONE: Dot[] = [];
const SLOWEST = 5;
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const COLOURS = 8; // in styles.css, for both themes
const FORMATS: Record<Chart['unit'], (value: number) => string> = {
  'requests/s': rate,
  ms: duration,
  bytes,
  'bytes/s': throughput,
  cores: (value) => `${plain(value)} s/s`,
  count: (value) => plain(value),
};

const plain = (value: number): string => String(Number(value.toPrecision(3)));
const colourOf = (index: number): string => `var(--sc-line-${index % COLOURS})`;
const isDark = (): boolean => document.documentElement.classList.contains('pf-v6-theme-dark');

function onTheme(changed: () => void): () => void {
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributeFilter: ['class'] });
  return () => observer.disconnect();
}

/** A chart over time with its legend, whose values are those under the pointer, or else the last. */
export default function ChartOverTime({ chart, times, dots = NONE, traces = '' }: { chart: Chart; times: number[]; dots?: Dot[]; traces?: string }) {
  const over = useRef(dots);
  over.current = dots;
  const highest = Math.max(0, ...dots.map((dot) => dot.value));

  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const dark = useSyncExternalStore(onTheme, isDark);
  const [index, setIndex] = useState<number | null>(null);
  const format = FORMATS[chart.unit];
  const labels = chart.lines.map((line) => line.label).join('\n');
  const data = useMemo(() => [times, ...chart.lines.map((line) => line.values)] as uPlot.AlignedData, [times, chart]);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const style = getComputedStyle(element);
    const [ink, line] = [style.getPropertyValue('--sc-subtle'), style.getPropertyValue('--sc-line')];
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const made = new uPlot(
      {
        width: element.clientWidth || 300,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false },
        scales: { y: { range: (_, __, max) => [0, Math.max(max, ...over.current.map((dot) => dot.value)) * 1.1 || 1] } },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((tick) => clock(tick).slice(0, 5)) },
          { ...axis, size: 74, values: (_, ticks) => ticks.map(format) },
        ],
        series: [
          {},
          ...labels.split('\n').map((label, at) => ({
            label,
            stroke: style.getPropertyValue(`--sc-line-${at % COLOURS}`),
            width: 1.5,
            dash: DASHES[Math.floor(at / COLOURS) % DASHES.length] ?? [],
            points: { size: 4 },
          })),
        ],
        hooks: { setCursor: [(self) => setIndex(self.cursor.idx ?? null)], draw: [(self) => drawDots(self, over.current, style)] },
      },
      data,
      element,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
    // Data that comes later is set below.
  }, [labels, dark, format]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [data, dots]);
  const rows = legend(chart.lines, index);
  const title = text.charts[chart.name] ?? chart.name;
  return (
    <Card title={title}>
      <div
        ref={place}
        className="sc-chart"
        role="img"
        aria-label={text.metrics.chart(title, rows.map(({ label, last }) => `${label} ${value(last, format)}`).join(', '))}
      />
      <div className="sc-legend-table">
        <PlainTable
          label={text.metrics.values(title)}
          columns={[text.metrics.line, index === null ? text.metrics.last : clock(times[index] ?? 0), text.metrics.average, text.metrics.most]}
          rows={rows.map((row, at) => [
            row.label,
            <>
              <svg viewBox="0 0 18 4" width="18" height="4" aria-hidden className="sc-swatch">
                <path d="M0 2H18" stroke={colourOf(at)} strokeWidth="3" strokeDasharray={DASHES[Math.floor(at / COLOURS) % DASHES.length]?.join(' ')} />
              </svg>{' '}
              {row.label}
            </>,
            value(row.at, format),
            value(row.average, format),
            value(row.most, format),
          ])}
        />
      </div>
      {highest > 0 && (
        <p className="sc-filters">
          {text.metrics.slowest}{' '}
          {[...dots]
            .sort((a, b) => b.value - a.value)
            .slice(0, SLOWEST)
            .map((dot) => (
              <Link key={dot.id} to={`${traces}&trace=${dot.id}`}>
                {text.metrics.span(clock(dot.at), format(dot.value))}
              </Link>
            ))}
        </p>
      )}
      {chart.dropped > 0 && <p className="sc-where">{text.metrics.dropped(chart.dropped)}</p>}
    </Card>
  );
}

/** Spans as dots; those of traces with errors are red, and rings. */
function drawDots(plot: uPlot, dots: Dot[], style: CSSStyleDeclaration): void {
  const { left, top, width, height } = plot.bbox;
  for (const { at, value, error } of dots) {
    const [x, y] = [plot.valToPos(at, 'x', true), plot.valToPos(value, 'y', true)];
    if (x < left || x > left + width || y < top || y > top + height) continue;
    plot.ctx.beginPath();
    plot.ctx.arc(x, y, 3 * window.devicePixelRatio, 0, 7);
    plot.ctx.fillStyle = plot.ctx.strokeStyle = style.getPropertyValue(error ? '--sc-failure' : '--sc-subtle');
    if (error) plot.ctx.stroke();
    else plot.ctx.fill();
  }
}

const value = (of: number | null, format: (value: number) => string): string => (of === null ? '–' : format(of));
