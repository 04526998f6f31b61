import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { FormSelect, FormSelectOption } from '@patternfly/react-core/dist/dynamic/components/FormSelect';
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
        <FormSelect key={name} aria-label={label} value={options[name]} onChange={(_, value) => change({ [name]: value })}>
          {values.map((value) => (
            <FormSelectOption key={value} value={value} label={words[value] ?? value} />
          ))}
        </FormSelect>
      ))}
      {SWITCHES.map((name) => (
        <label key={name} className="sc-check">
          <input type="checkbox" checked={options[name]} onChange={(event) => change({ [name]: event.target.checked })} />{' '}
          {text.graph[name]}
        </label>
      ))}
      <span className="sc-push">
        {!options.at && (
          <Button variant="link" onClick={() => change({ at: String(Math.floor(Date.now() / 10_000) * 10 - 60) })}>
            {text.replay.open}
          </Button>
        )}
      </span>
      <FormSelect aria-label={text.graph.export} value="" onChange={(_, format) => onExport(format as Format)}>
        {[['', text.graph.export] as const, ...FORMATS.map((one) => [one, text.graph.formats[one]] as const)].map(([value, label]) => (
          <FormSelectOption key={value} value={value} label={label} />
        ))}
      </FormSelect>
    </div>
  );
}
