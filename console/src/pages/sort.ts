/** Columns of tables, and rows in their order. Pure. */
import type { ReactNode } from 'react';

export interface Column<Row> {
  key: string;
  title: string;
  /** What is sorted by; without it the column cannot be sorted. */
  value?: (row: Row) => string | number;
  /** What is shown; the value by default. */
  cell?: (row: Row) => ReactNode;
}

/** Rows in the order of a column; equal ones keep theirs. Pure. */
export function sorted<Row>(rows: Row[], columns: Column<Row>[], sort: string): Row[] {
  const column = columns.find(({ key }) => key === sort.replace(/^-/, ''));
  const value = column?.value;
  if (!value) return rows;
  const sign = sort.startsWith('-') ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return sign * (typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), 'en', { numeric: true }));
  });
}
