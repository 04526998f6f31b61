import { Alert, AlertActionCloseButton, AlertActionLink, AlertGroup } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { text } from './text';
import { type Toast, close } from './toasts';

const GONE_MS = 20_000;

/** What has just happened: with what to do about it, and for long enough to do it. */
export default function Toasts({ toasts }: { toasts: Toast[] }) {
  return (
    <AlertGroup isToast isLiveRegion>
      {toasts.map(({ id, good, title, words, action }) => (
        <Alert
          key={id}
          variant={good ? 'success' : 'danger'}
          title={title}
          timeout={good ? GONE_MS : false}
          onTimeout={() => close(id)}
          actionClose={<AlertActionCloseButton onClose={() => close(id)} aria-label={text.editor.dismiss} />}
          actionLinks={
            action && (
              <AlertActionLink
                onClick={() => {
                  close(id);
                  action.run();
                }}
              >
                {action.title}
              </AlertActionLink>
            )
          }
        >
          {words.map((line) => (
            <p key={line}>{line}</p>
          ))}
        </Alert>
      ))}
    </AlertGroup>
  );
}
