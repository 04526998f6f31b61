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
