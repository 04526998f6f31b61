/** What can be written at a place of a YAML text, by the schema of its kind. Pure. */

/** The parts of a JSON schema that the API server serves. */
export interface Schema {
  type?: string;
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  enum?: string[];
}

export interface Option {
  label: string;
  detail: string;
  info: string;
  /** What is inserted: a field with its colon. */
  insert: string;
}

interface Line {
  indent: number;
  key: string;
  item: boolean;
}

const LINE = /^(\s*)((?:-\s+)*)([\w./-]*)(:?)/;

/** A line's indentation, its key, and whether it begins an item. Of `- key:` the key stands where the text after the dash does. */
function read(line: string): Line | null {
  const match = LINE.exec(line);
  if (!match || !line.trim() || line.trim().startsWith('#')) return null;
  const [, space = '', dashes = '', key = '', colon = ''] = match;
  return { indent: space.length + dashes.length, key: colon ? key : '', item: dashes !== '' };
}

/** The names of the fields around the last line, outermost first; `[]` stands for an item of a list. */
export function pathAt(lines: readonly string[]): string[] {
  const last = lines.at(-1) ?? '';
  const dashes = /^(\s*)((?:-\s+)*)/.exec(last);
  let indent = (dashes?.[1]?.length ?? 0) + (dashes?.[2]?.length ?? 0);
  const path: string[] = [];
  let item = Boolean(dashes?.[2]);
  let column = dashes?.[1]?.length ?? 0;
  for (let index = lines.length - 2; index >= 0; index -= 1) {
    const text = lines[index] ?? '';
    if (text.startsWith('---')) break;
    const line = read(text);
    if (!line) continue;
    const start = text.length - text.trimStart().length;
    if (!item && line.item && line.indent === indent) {
      item = true; // an item that began above
      column = start;
      continue;
    }
    const outside = item ? line.indent <= column && !(line.item && start === column) : line.indent < indent;
    if (!outside || !line.key) continue;
    if (item) path.unshift('[]');
    path.unshift(line.key);
    indent = line.indent;
    column = start;
    item = line.item;
  }
  if (item) path.unshift('[]');
  return path;
}

/** The schema at a path; undefined for a place that it does not know. */
export function schemaAt(root: Schema, path: readonly string[]): Schema | undefined {
  let at: Schema | undefined = root;
  for (const part of path) {
    if (part === '[]') at = at?.items;
    else at = at?.properties?.[part] ?? (typeof at?.additionalProperties === 'object' ? at.additionalProperties : undefined);
  }
  return at;
}

/** What can follow in the last of the lines: values after `key: `, or else fields that are not there yet. */
export function options(root: Schema, lines: readonly string[]): Option[] {
  const last = lines.at(-1) ?? '';
  const value = /^\s*(?:-\s+)*([\w./-]+):\s+\S*$/.exec(last);
  if (value) {
    const schema = schemaAt(root, [...pathAt(lines), value[1] ?? '']);
    const values = schema?.type === 'boolean' ? ['true', 'false'] : (schema?.enum ?? []);
    return values.map((label) => ({ label, detail: '', info: schema?.description ?? '', insert: label }));
  }
  if (!/^\s*(?:-\s+)*[\w./-]*$/.test(last)) return [];
  const schema = schemaAt(root, pathAt(lines));
  return Object.entries(schema?.properties ?? {}).map(([label, field]) => ({
    label,
    detail: field.type === 'array' ? `list of ${field.items?.type ?? ''}` : (field.type ?? ''),
    info: field.description ?? '',
    insert: field.type === 'object' || field.type === 'array' ? `${label}:` : `${label}: `,
  }));
}
