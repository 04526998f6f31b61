import { Act, Check, Select } from '../shell/Act';
import { BOXES, GRAPH_TYPES, LABELS, type Options } from '../options';
import { text } from '../text';
import type { Change } from '../useOptions';

interface Props {
  options: Options;
  change: Change;
  onExport: (format: Format) => void;
}

export const FORMATS = ['svg', 'png', 'dot', 'mermaid', 'json'] as const;
export type Format = (typeof FORMATS)[number];

const CHOICES = [
  ['type', GRAPH_TYPES, text.graph.type, text.graph.types],
  ['labels', LABELS, text.graph.labels, text.graph.labelKinds],
  ['boxes', BOXES, text.graph.boxes, text.graph.boxKinds],
] as const;
const SWITCHES = ['services', 'idle', 'animation', 'legend', 'table'] as const;

/** What is shown, and how. */
export function Toolbar({ options, change, onExport }: Props) {
  return (
    <div className="sc-toolbar" role="group" aria-label={text.graph.title}>
      {CHOICES.map(([name, values, label, words]) => (
        <Select key={name} label={label} value={options[name]} choices={values.map((one) => [one, words[one] ?? one])} onChange={(value) => change({ [name]: value })} />
      ))}
      {SWITCHES.map((name) => (
        <Check key={name} label={text.graph[name]} value={options[name]} onChange={(value) => change({ [name]: value })} />
      ))}
      <span className="sc-push">
        {!options.at && <Act words={text.replay.open} onClick={() => change({ at: String(Math.floor(Date.now() / 10_000) * 10 - 60) })} />}
      </span>
      <Select
        label={text.graph.export}
        value=""
        choices={[['', text.graph.export], ...FORMATS.map((one) => [one, text.graph.formats[one]] as const)]}
        onChange={(format) => onExport(format as Format)}
      />
    </div>
  );
}
