/** What the legend of a chart says. Pure. */
import type { Line } from '../api/contract.gen';

export interface LegendRow {
  label: string;
  /** The value at the index, or the last. */
  at: number | null;
  last: number | null;
  average: number | null;
  most: number | null;
}

export function legend(lines: Line[], index: number | null): LegendRow[] {
  return lines.map(({ label, values }) => {
    const known = values.filter((value) => value !== null);
    const last = known.at(-1) ?? null;
    return {
      label,
      at: index === null ? last : (values[index] ?? null),
      last,
      average: known.length ? known.reduce((sum, one) => sum + one, 0) / known.length : null,
      most: known.length ? Math.max(...known) : null,
    };
  });
}
