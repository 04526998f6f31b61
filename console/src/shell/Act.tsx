/** Small things to act with, which most pages have. */
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { FormSelect, FormSelectOption } from '@patternfly/react-core/dist/dynamic/components/FormSelect';

/** Words that do something, in the look of a link. */
export function Act({ words, onClick }: { words: string; onClick: () => void }) {
  return (
    <Button variant="link" isInline onClick={onClick}>
      {words}
    </Button>
  );
}

export function Check({ label, value, onChange }: { label: string; value: boolean; onChange: (value: boolean) => void }) {
  return (
    <label className="sc-check">
      <input type="checkbox" checked={value} onChange={(event) => onChange(event.target.checked)} /> {label}
    </label>
  );
}

interface SelectProps {
  /** Without one, `id` is that of the input that a label names. */
  label?: string;
  id?: string;
  value: string;
  /** Value and words; the first is no filter. */
  choices: readonly (readonly [string, string])[];
  onChange: (value: string) => void;
}

export function Select({ label, id, value, choices, onChange }: SelectProps) {
  return (
    <FormSelect id={id} aria-label={label} value={value} onChange={(_, chosen) => onChange(chosen)}>
      {choices.map(([key, words]) => (
        <FormSelectOption key={key} value={key} label={words} />
      ))}
    </FormSelect>
  );
}
