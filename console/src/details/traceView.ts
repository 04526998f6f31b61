/** Places of traces in the scatter, and of spans in their bars. Pure. */
import type { Span, Trace, TraceRow } from '../api/contract.gen';

export interface Point {
  trace: TraceRow;
  x: number;
  y: number;
}

/** Where traces are: x by time, y by duration (both 0 to 1, y from the bottom), and the longest duration. */
export function scatter(traces: TraceRow[]): { points: Point[]; from: number; to: number; longest: number } {
  const starts = traces.map((trace) => trace.start);
  const from = Math.min(...starts);
  const to = Math.max(...starts);
  const longest = Math.max(0, ...traces.map((trace) => trace.duration));
  const points = traces.map((trace) => ({
    trace,
    x: to > from ? (trace.start - from) / (to - from) : 0.5,
    y: longest > 0 ? trace.duration / longest : 0,
  }));
  return { points, from, to, longest };
}

/** The bar of a span, in percent of its trace; wide enough to be seen. */
export function bar(span: Span, trace: Trace): { left: number; width: number } {
  const whole = trace.duration || 1;
  const left = Math.min(99.5, Math.max(0, (span.start / whole) * 100));
  return { left, width: Math.min(100 - left, Math.max(0.5, (span.duration / whole) * 100)) };
}

const HOTTEST = 60; // percent of the colour, so that text stays readable

/** How a duration differs from a quantile: whether it is longer, and how strong the colour is, up to twice or half as long. */
export function heat(duration: number, quantile: number): { slower: boolean; strength: number } {
  const ratio = Math.max(duration, 1e-6) / Math.max(quantile, 1e-6);
  return { slower: ratio > 1, strength: Math.round(Math.min(1, Math.abs(Math.log2(ratio))) * HOTTEST) };
}

/** A span over a chart: when it began, and its milliseconds. */
export interface Dot {
  id: string;
  at: number;
  value: number;
  error: boolean;
}

/** The longest span of each trace that the subject received or sent. */
export function dotsOf(traces: TraceRow[], direction: 'inbound' | 'outbound'): Dot[] {
  return traces.flatMap(({ id, start, own, errors }) => {
    const value = own[direction];
    return value === undefined ? [] : [{ id, at: start, value, error: errors > 0 }];
  });
}
