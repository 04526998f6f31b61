/** What the masthead holds: the options that all pages share, the state of the control plane, the user. */
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { Label } from '@patternfly/react-core/dist/dynamic/components/Label';
import MoonIcon from '@patternfly/react-icons/dist/esm/icons/moon-icon';
import SignOutAltIcon from '@patternfly/react-icons/dist/esm/icons/sign-out-alt-icon';
import SunIcon from '@patternfly/react-icons/dist/esm/icons/sun-icon';
import { logout, scope, useApi } from '../api/client';
import type { Session } from '../api/contract.gen';
import { REFRESHES, WINDOWS } from '../options';
import { text } from '../text';
import { useTheme } from '../theme';
import { useOptions } from '../useOptions';
import { Select } from './Act';
import { CopyLink } from './CopyLink';
import { Namespaces } from './Namespaces';

const SLOW_S = 15; // between looks at the control plane, at least

export function Controls() {
  const [options, change] = useOptions();
  const windows = WINDOWS.some((window) => window === options.window) ? WINDOWS : [options.window, ...WINDOWS];
  return (
    <div className="sc-controls">
      <Namespaces chosen={options.namespaces} onChange={(namespaces) => change({ namespaces })} />
      <Select
        label={text.shell.window}
        value={options.window}
        choices={windows.map((window) => [window, text.shell.windows(window)])}
        onChange={(window) => change({ window })}
      />
      <Select
        label={text.shell.refresh}
        value={String(options.refresh)}
        choices={REFRESHES.map((seconds) => [String(seconds), text.shell.refreshes[seconds] ?? ''])}
        onChange={(seconds) => change({ refresh: Number(seconds) })}
      />
      <CopyLink />
    </div>
  );
}

export function Status({ user }: { user: Session }) {
  const [theme, toggle] = useTheme();
  return (
    <div className="sc-user">
      <ControlPlaneState />
      <Button
        variant="plain"
        aria-label={theme === 'dark' ? text.shell.toLight : text.shell.toDark}
        icon={theme === 'dark' ? <SunIcon /> : <MoonIcon />}
        onClick={toggle}
      />
      <span className="sc-user-name" title={text.shell.user(user.user)}>
        {user.user}
      </span>
      <Button
        variant="plain"
        aria-label={text.shell.logout}
        title={text.shell.logout}
        icon={<SignOutAltIcon />}
        onClick={() => void logout()}
      />
    </div>
  );
}

function ControlPlaneState() {
  const [options] = useOptions();
  const overview = useApi('/api/overview', scope(options), options.refresh && Math.max(options.refresh, SLOW_S));
  if (overview.error || overview.data?.controlPlane.version === '') return <Label status="danger">{text.shell.controlPlaneDown}</Label>;
  if (!overview.data) return null;
  const { version, proxies, stale } = overview.data.controlPlane;
  const words = stale.length ? text.shell.stale(stale.length) : text.shell.controlPlane(version, proxies);
  return (
    <Label status={stale.length ? 'warning' : 'success'} title={words} className="sc-plane">
      {words}
    </Label>
  );
}
