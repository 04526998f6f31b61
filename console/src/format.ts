/** Numbers and moments as people read them. Pure. */

const ZERO = '0';
const compact = new Intl.NumberFormat('en', { maximumSignificantDigits: 3, notation: 'compact' });

/** Requests a second, such as `12.3/s`. */
export function rate(perSecond: number): string {
  if (perSecond <= 0) return `${ZERO}/s`;
  return perSecond < 0.01 ? '<0.01/s' : `${compact.format(perSecond).replace('K', 'k')}/s`;
}

/** A share between 0 and 1, such as `12.5 %`. A little never reads as nothing, and not all never reads as all. */
export function percent(share: number): string {
  if (share <= 0) return `${ZERO} %`;
  if (share >= 1) return '100 %';
  if (share < 0.001) return '<0.1 %';
  if (share > 0.999) return '>99.9 %';
  const value = share * 100;
  return `${value.toFixed(value < 10 ? 1 : 0).replace(/\.0$/, '')} %`;
}

/** Milliseconds, such as `3.2 ms` or `1.5 s`. */
export function duration(milliseconds: number): string {
  if (milliseconds >= 60_000) return `${trimmed(milliseconds / 60_000)} min`;
  if (milliseconds >= 1000) return `${trimmed(milliseconds / 1000)} s`;
  return `${trimmed(milliseconds)} ms`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes, such as `1.2 kB`. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${trimmed(value)} ${UNITS[unit]}`;
}

/** Bytes a second, such as `1.2 kB/s`. */
export const throughput = (bytesPerSecond: number): string => `${bytes(bytesPerSecond)}/s`;

function trimmed(value: number): string {
  if (value <= 0) return ZERO;
  if (value >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(value < 1 ? 2 : 3)));
}

/** The time of day of seconds since the epoch, in the user's zone. */
export function clock(seconds: number, zone?: string): string {
  return new Date(seconds * 1000).toLocaleTimeString('en-GB', { timeZone: zone });
}

/** Date and time in the user's zone, for an ISO text or seconds since the epoch; `UTC` on hover is the caller's. */
export function moment(when: string | number, zone?: string): string {
  const date = typeof when === 'number' ? new Date(when * 1000) : new Date(when);
  if (Number.isNaN(date.getTime())) return '';
  return date.toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short', timeZone: zone });
}

/** The same moment in UTC. */
export function utc(when: string | number): string {
  const date = typeof when === 'number' ? new Date(when * 1000) : new Date(when);
  return Number.isNaN(date.getTime()) ? '' : `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
