/** Lines of logs: which are shown, and how new ones join. Pure. */
import type { LogLine } from '../api/contract.gen';
import { clock } from '../format';

/** Whether a text matches what is searched for: a text, whatever its case, or a /regular expression/. Null for one that is not
 * valid. */
export function matcher(search: string): ((text: string) => boolean) | null {
  const written = /^\/(.+)\/([i]?)$/.exec(search.trim());
  if (written) {
    try {
      const pattern = new RegExp(written[1] ?? '', written[2]);
      return (text) => pattern.test(text);
    } catch {
      return null;
    }
  }
  const wanted = search.trim().toLowerCase();
  return (text) => text.toLowerCase().includes(wanted);
}

/** The lines with new ones, by time, at most so many: the oldest go. */
export function joined(lines: LogLine[], more: LogLine[], most: number): LogLine[] {
  const all = [...lines, ...more];
  const last = lines.at(-1);
  if (last && more.some((one) => one.time < last.time)) all.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  return all.length > most ? all.slice(all.length - most) : all;
}

/** The time of day of a line with milliseconds, in the user's zone. */
export function timeOf(line: LogLine, zone?: string): string {
  const milliseconds = Date.parse(line.time);
  if (Number.isNaN(milliseconds)) return line.time;
  return `${clock(Math.floor(milliseconds / 1000), zone)}.${String(milliseconds % 1000).padStart(3, '0')}`;
}

/** A line of an access log without its time, which stands before it already. */
export const withoutTime = (text: string): string => text.replace(/^\[[^\]]*\] /, '');
