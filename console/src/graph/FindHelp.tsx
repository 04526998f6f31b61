import { text } from '../text';
import { OPERANDS } from './find';

/** The language of the find and hide boxes, with examples to try. */
export default function FindHelp({ onExample }: { onExample: (find: string) => void }) {
  return (
    <div className="sc-help">
      <p>{text.find.intro}</p>
      <ul>
        {text.find.examples.map(([example, words]) => (
          <li key={example}>
            <button type="button" className="sc-link" onClick={() => onExample(example)}>
              <code>{example}</code>
            </button>{' '}
            {words}
          </li>
        ))}
      </ul>
      <p>
        {text.find.operands}: {OPERANDS.join(', ')}
      </p>
    </div>
  );
}
