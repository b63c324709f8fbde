"""What can go wrong, as classes with a code: one table for errors, findings, `explain` and the documentation.

    KirotunnelError                       code     exit   who acts
    ├── SettingsError                     KT1xx     3     the settings file, the environment
    ├── TargetError                       KT2xx     4     the name of the target
    ├── SSHError                          KT3xx     5     network, keys, the SSH server
    ├── RemoteLoginError                  KT4xx     6     the CLI on the target
    ├── LocalPortError                    KT5xx     7     a port of this machine
    ├── OAuthError                        KT6xx     8     the sign-in itself
    ├── LoginTimedOutError                KT701     9     time
    └── InternalError                     KT900     70    kirotunnel

A code never changes its meaning. This module imports nothing of the package, so that everything may import it.
"""

from __future__ import annotations

from typing import ClassVar


class KirotunnelError(Exception):
    """Base of every error that kirotunnel raises on purpose.

    `message` says what happened and to what; `hint` says what to do about it. Neither ever holds a secret.
    """

    code: ClassVar[str] = "KT900"
    exit_code: ClassVar[int] = 70
    title: ClassVar[str] = "Unexpected error"
    explanation: ClassVar[str] = ""
    """The long text behind the code, shown by `kirotunnel explain`."""

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint


# --- KT1xx: settings -------------------------------------------------------------------------------------------------


class SettingsError(KirotunnelError):
    """The settings file or an environment variable cannot be used."""

    code = "KT101"
    exit_code = 3
    title = "Settings cannot be used"
    explanation = (
        "A settings file or an environment variable holds a key that kirotunnel does not know, or a value that the key "
        "cannot take. The message names the file, the table and the key. Keys are the long option names without the "
        'dashes, in [defaults] or in [target."NAME"]; environment variables are KIROTUNNEL_ and the option in capitals.'
    )
    default_hint = "correct or remove that key; `kirotunnel login --help` lists the options"


class SessionStoreError(SettingsError):
    """What is kept of the sessions cannot be read."""

    code = "KT103"
    title = "Session store cannot be read"
    explanation = (
        "The file or keyring entry in which kirotunnel keeps this machine's sessions is damaged, belongs to somebody "
        "else, or was written by a later version. It is left as it is: nothing in it is thrown away unasked."
    )
    default_hint = "move the file that the message names out of the way, and sign in again with `kirotunnel login`"


class SessionNotSavedError(SettingsError):
    """A session cannot be kept on this machine."""

    code = "KT104"
    title = "Session cannot be saved"
    explanation = (
        "kirotunnel keeps sessions in the system's keyring, or in a file that only you can read, and could write "
        "neither: the directory is read-only, the disk is full, or it belongs to somebody else. This is tried before "
        "the browser opens, so that no sign-in is made in vain."
    )
    default_hint = "make that directory writable for you, or name another one with XDG_DATA_HOME"


class SessionStoreBusyError(SettingsError):
    """Another process keeps the session store locked."""

    code = "KT105"
    title = "Session store is in use"
    explanation = (
        "Processes that renew or change a session take turns by a lock file. Another kirotunnel has held it for longer "
        "than a renewal can take, or the keyring waits for somebody to unlock it."
    )
    default_hint = "look for a kirotunnel that hangs, end it, and run the command again"


class BrowserNotFoundError(SettingsError):
    """The command given as --browser does not exist."""

    code = "KT102"
    title = "Browser not found"
    explanation = (
        "The command given with --browser, in the settings file or as KIROTUNNEL_BROWSER, is not on PATH or cannot be "
        "run. This is checked before anything is connected."
    )
    default_hint = "correct the command, or use --no-browser and open the printed URL yourself"


class ProfileError(SettingsError):
    """A profile cannot be used."""

    code = "KT106"
    title = "Profile cannot be used"
    explanation = (
        "A profile describes a command-line tool to kirotunnel, as TOML; your own are in the folder profiles/ beside "
        "the settings file. The message names the file, the line and the key: the key is not known or missing, or its "
        "value has the wrong type or makes no sense. docs/profiles.md has all keys."
    )
    default_hint = "correct that line, or move the file away; docs/profiles.md has all keys"


class ProfileNotFoundError(SettingsError):
    """There is no profile of that name."""

    code = "KT107"
    title = "Profile not found"
    explanation = (
        "No profile of that name is built in, and none is in the folder profiles/ beside your settings file. "
        "`kirotunnel profiles` lists all there are. A command without a profile works too, by the general rules."
    )
    default_hint = "`kirotunnel profiles` lists them; without --profile the general rules do"


# --- KT2xx: the target -----------------------------------------------------------------------------------------------


class TargetError(KirotunnelError):
    """The target cannot be understood or found."""

    code = "KT201"
    exit_code = 4
    title = "Target cannot be understood"
    explanation = (
        "A target is a name from your SSH config, a host name, [user@]host[:port], ssh://[user@]host[:port] or "
        "[user@][v6addr]:port. What was given is none of these."
    )
    default_hint = "give the target as you would give it to ssh"


class HostNotFoundError(TargetError):
    """The host name has no address."""

    code = "KT202"
    title = "Host not found"
    explanation = (
        "The name is no alias of your SSH config with a HostName, and the name service of this machine, or of the jump "
        "host, knows no address for it. `ssh -G NAME` shows what your SSH config makes of the name."
    )
    default_hint = (
        "check the name for a typing error, and the network; `ssh -G NAME` shows what your SSH config makes of it"
    )
    typed: str | None = None
    """The name as it was typed, or stands in a ProxyJump; None for the target's own."""


class SSHConfigError(TargetError):
    """The SSH config has an error in it."""

    code = "KT203"
    title = "SSH config cannot be read"
    explanation = (
        "OpenSSH, or our own reader where there is none, refused your SSH config; the message has the file and line. "
        "ssh itself would fail alike. Jump hosts that lead in a circle are an error of the config, too."
    )
    default_hint = "correct that line of the SSH config; `ssh -G NAME` shows the same error"


class TargetKindUnavailableError(TargetError):
    """The target is of a kind that this installation cannot reach."""

    code = "KT204"
    title = "Target kind not available"
    explanation = (
        "EC2 instances are looked up with AWS's own library, which comes with an extra of kirotunnel and is not "
        "installed here. Or it is a container of this machine that has this machine's own network: the port on which "
        "its CLI waits is one of this machine then, and no other program can take it."
    )
    default_hint = "install the extra: `pip install 'kirotunnel[aws]'` (or `pipx inject kirotunnel boto3`)"


class InstanceNotFoundError(TargetError):
    """AWS knows no such EC2 instance, where it was looked for."""

    code = "KT205"
    title = "EC2 instance not found"
    explanation = (
        "The account and the regions that were asked have no instance of that ID or tag. Instances are looked for with "
        "the profile of AWS_PROFILE or --ec2-profile, in the regions of --ec2-region, else in that of AWS_REGION or of "
        "the profile."
    )
    default_hint = "name the region with --ec2-region, and the account with --ec2-profile"


class InstanceNotRunningError(TargetError):
    """The EC2 instance is there and does not run."""

    code = "KT206"
    title = "EC2 instance is not running"
    explanation = (
        "The instance was found, but it is stopped, still starting, or on its way out. Only a running one answers."
    )
    default_hint = "start it with `aws ec2 start-instances --instance-ids INSTANCE`, and wait until it runs"


class InstanceAmbiguousError(TargetError):
    """Several EC2 instances fit."""

    code = "KT207"
    title = "Several EC2 instances match"
    explanation = "More than one running instance has that tag. The message lists them; one must be chosen."
    default_hint = "give the ID of the one that is meant, or a further --ec2-tag"


class InstanceUnreachableError(TargetError):
    """The EC2 instance has no address or service by which it could be reached."""

    code = "KT208"
    title = "No way to the EC2 instance"
    explanation = (
        "An instance is reached by its public address, by Session Manager (its SSM agent must be registered), or "
        "through an EC2 Instance Connect Endpoint of its VPC. This one offers none of these, or not the one that "
        "--ec2-connect asked for."
    )
    default_hint = "with a VPN to its network, `--ec2-connect direct` takes the private address"


class AWSToolMissingError(TargetError):
    """A program of AWS that the way to the instance needs is not installed."""

    code = "KT209"
    title = "A program of AWS is missing"
    explanation = (
        "Session Manager and Instance Connect Endpoints are spoken to by AWS's own programs: the AWS CLI, and for "
        "Session Manager its plugin. They must be on PATH."
    )
    default_hint = "install what the message names, or choose another way with --ec2-connect"


class AWSNotSetUpError(TargetError):
    """AWS cannot be asked: no credentials, expired ones, no region."""

    code = "KT210"
    title = "AWS credentials missing or expired"
    explanation = (
        "EC2 is asked with the credentials that every AWS program finds: environment, profile, IAM Identity Center. "
        "There are none here, or they have expired, or no region is set, or the profile does not exist."
    )
    default_hint = "`aws sts get-caller-identity` must work: sign in with `aws sso login` or `aws configure`"


class AWSRefusedError(TargetError):
    """The credentials do not allow what is needed."""

    code = "KT211"
    title = "AWS does not allow it"
    explanation = (
        "The credentials are valid, but their policies do not allow the action that the message names. Needed are "
        "ec2:DescribeInstances, and ec2-instance-connect:SendSSHPublicKey where a one-time key is pushed; "
        "ec2:DescribeImages, ssm:DescribeInstanceInformation and ec2:DescribeInstanceConnectEndpoints help."
    )
    default_hint = "ask for that permission, or use another profile with --ec2-profile"


class AWSUnreachableError(TargetError):
    """AWS did not answer."""

    code = "KT212"
    title = "AWS cannot be reached"
    explanation = "No answer came from the AWS service that the message names: no network, a proxy, or a wrong region."
    default_hint = "check the network, HTTPS_PROXY and the name of the region"


class EngineNotFoundError(TargetError):
    """There is no container engine, or no kubectl, where the container is said to be."""

    code = "KT213"
    title = "Container engine not found"
    explanation = (
        "--container needs docker, podman or nerdctl on the host, --pod needs kubectl. They were looked for on the "
        "PATH of the session and where they are usually installed beside it. With TARGET localhost the host is this "
        "machine, and no SSH server is needed."
    )
    default_hint = "install one there, or give the path of another with --container-engine"


class ContainerNotFoundError(TargetError):
    """No engine there has a container of that name."""

    code = "KT214"
    title = "Container not found"
    explanation = (
        "The engines of the host were asked, and none has a container, or pod, of that name. An engine shows each "
        "user only their own (podman, rootless docker), kubectl only the namespace of its context."
    )
    default_hint = "`docker ps`, `podman ps` or `kubectl get pods` there shows what runs"


class ContainerNotRunningError(TargetError):
    """The container is there and does not run."""

    code = "KT215"
    title = "Container is not running"
    explanation = "The container, or pod, was found, but it is stopped, paused, still starting, or has ended."
    default_hint = "start it there, and run the command again"


class EngineNotPermittedError(TargetError):
    """The engine does not take orders from this user."""

    code = "KT216"
    title = "Container engine does not allow it"
    explanation = (
        "The engine is there, but this user may not speak to it: its socket belongs to another group, or the cluster's "
        "rules do not allow `pods/exec`. On EC2 the user of a fresh instance is not in the group docker."
    )
    default_hint = "become a member of its group there, or ask who runs the cluster"


class EngineNotAnsweringError(TargetError):
    """The engine's service did not answer."""

    code = "KT217"
    title = "Container engine does not answer"
    explanation = (
        "The engine's program is there, but its service is not started, or the cluster of kubectl's context cannot be "
        "reached. The message has its own last words."
    )
    default_hint = "`docker ps`, `podman ps` or `kubectl get pods` there must work first"


class ContainerAmbiguousError(TargetError):
    """The pod has several containers, and none was named."""

    code = "KT218"
    title = "Several containers in the pod"
    explanation = (
        "The pod has more than one container, and its annotations name no default one, so nobody can tell which "
        "is meant. The message lists them."
    )
    default_hint = "name one with --pod NAMESPACE/NAME/CONTAINER"


class ContainerWithoutShellError(TargetError):
    """The container has no /bin/sh."""

    code = "KT219"
    title = "No shell in the container"
    explanation = (
        "kirotunnel works through a /bin/sh in the container, which needs nothing else installed. Images made from "
        "scratch, and distroless ones, have none; neither do they have room for a CLI that opens a browser."
    )
    default_hint = "use an image with a shell, or name the container of the pod that has the CLI"


class TargetListError(TargetError):
    """A file that lists targets cannot be used."""

    code = "KT220"
    title = "List of targets cannot be used"
    explanation = (
        "The file given with --targets-file cannot be read, is empty, or holds something that is no text. It has one "
        "target or pattern a line; a # begins a comment. Nothing is connected before the whole list was understood."
    )
    default_hint = "write one target a line into the file, or pipe them in with --targets-file -"


class PatternUnmatchedError(TargetError):
    """A pattern of targets matches no host of the SSH config."""

    code = "KT221"
    title = "Pattern without a match"
    explanation = (
        "A target with * or ? stands for the names that have a Host line of their own in the SSH config, files that it "
        "includes among them; known_hosts does not count. None of them matches, and nothing was connected."
    )
    default_hint = "look at the Host lines of your SSH config, and quote the pattern so that the shell leaves it alone"


# --- KT3xx: SSH ------------------------------------------------------------------------------------------------------


class SSHError(KirotunnelError):
    """The SSH connection to the target failed."""

    code = "KT301"
    exit_code = 5
    title = "Cannot connect"
    explanation = (
        "No SSH connection came about: nothing answers at that address and port, the network is unreachable, the "
        "ProxyCommand or a jump host failed, or what answered does not speak SSH. `ssh -v` to the same target shows "
        "more."
    )
    default_hint = "try `ssh -v` to the same target; when that works and this does not, please report it"


class HostKeyUnknownError(SSHError):
    """The host's key is not in known_hosts, and nobody could be asked, or the answer was no."""

    code = "KT302"
    title = "Host key not known"
    explanation = (
        "The host showed a key that none of your known_hosts files has. On a terminal kirotunnel shows the fingerprint "
        "and asks; without one it refuses, as ssh does with BatchMode. Compare the fingerprint with the one that the "
        "machine's owner or console gives you."
    )
    default_hint = "connect once with `ssh` to the same target, compare the fingerprint, and accept the key"


class HostKeyChangedError(SSHError):
    """The host shows a key other than the known one, or a revoked one."""

    code = "KT303"
    title = "Host key changed"
    explanation = (
        "known_hosts has another key for this host than the one that it shows now, or marks that key as revoked. "
        "Either the machine was set up anew, or somebody stands between you and it. kirotunnel never goes on here."
    )
    default_hint = "ask who runs the machine; if the change is right, remove the old key with `ssh-keygen -R HOST`"


class AuthenticationFailedError(SSHError):
    """The server accepted none of the keys or answers."""

    code = "KT304"
    title = "SSH authentication failed"
    explanation = (
        "The server accepted none of the keys, certificates, passwords or answers that were offered. Keys come from "
        "the SSH config's IdentityFile, from -i, and from the agent. A key with a passphrase can be unlocked only on a "
        "terminal or by the agent."
    )
    default_hint = "check with `ssh` to the same target; give the key with -i, or add it to the agent with ssh-add"


class ConnectionLostError(SSHError):
    """The SSH connection dropped while the sign-in was under way."""

    code = "KT305"
    title = "Tunnel disconnected mid-authentication"
    explanation = (
        "The SSH connection ended before the sign-in did (the network dropped, the laptop slept, the server closed the "
        "session), and could not be made anew in time, or must not be: the host shows another key, or lets you in no "
        "more. The target holds the login for as long as the sign-in may take and then ends it, so that it cannot sign "
        "in later without you. Also: the connection broke between a callback and its answer, and the CLI did not go on."
    )
    default_hint = "run the same command again; for a network that drops idle connections, set ServerAliveInterval 15"


class ConnectTimedOutError(SSHError):
    """The host did not answer in time."""

    code = "KT306"
    title = "Connection timed out"
    explanation = (
        "Nothing answered within the time allowed (ConnectTimeout of the SSH config, else 30 s). On EC2 this is nearly "
        "always a security group, a missing public address or a stopped instance."
    )
    default_hint = "check address, port, VPN and firewall or security group"


class ForwardingRefusedError(SSHError):
    """The server does not let us reach the CLI's callback port."""

    code = "KT307"
    title = "Forwarding refused"
    explanation = (
        "The server's configuration forbids TCP forwarding (AllowTcpForwarding, DisableForwarding, PermitOpen, or a "
        "restriction on the key), and the target has none of the programs that could carry the one request over a "
        "command instead: python3, perl, bash, socat, ncat, nc, busybox, curl."
    )
    default_hint = "use `--flow device`, which needs no tunnel, or ask the server's owner to allow local forwarding"


class SessionRefusedError(SSHError):
    """The server does not run our commands."""

    code = "KT308"
    title = "Server does not run commands"
    explanation = (
        "The connection stands, but the server ran something else than what it was asked to, or nothing: a forced "
        "command, a restricted shell, a login script that never ends, or a limit on sessions."
    )
    default_hint = (
        "`ssh TARGET /bin/sh -c true` must work without a question; check the account's shell and forced commands"
    )


# --- KT4xx: the CLI on the target ------------------------------------------------------------------------------------


class RemoteLoginError(KirotunnelError):
    """The login on the target failed."""

    code = "KT404"
    exit_code = 6
    title = "Remote login failed"
    explanation = (
        "The CLI on the target ended without being signed in. The message has the last line that it printed. "
        "Running its login by hand there often shows more."
    )
    default_hint = "run the command again; if it fails alike, try `--flow device`"


class CLINotFoundError(RemoteLoginError):
    """The CLI is not installed on the target, or not where it was looked for."""

    code = "KT401"
    title = "CLI not found on the target"
    explanation = (
        "The CLI was looked for on the PATH of the session, in ~/.local/bin, /usr/local/bin, /usr/bin and on the PATH "
        "of the login shell."
    )
    default_hint = "install it there, or name its path with --cli"


class CallbackPortError(RemoteLoginError):
    """The remote CLI found no callback port that is free on the target."""

    code = "KT402"
    title = "Failed to bind callback port"
    explanation = (
        "The CLI takes its callback port from a fixed list, since the sign-in service accepts no other, and every port "
        "of the list is in use on the target. Logins that were left waiting in other terminals are the usual cause."
    )
    default_hint = "end the other logins on the target; `lsof -i :PORT` there names the process"


class LoginRefusedError(RemoteLoginError):
    """The remote CLI refused to start this kind of login."""

    code = "KT403"
    title = "Remote CLI refused the login"
    explanation = (
        "The CLI on the target refused: versions before 1.24 know no Google or GitHub sign-in in remote mode, and no "
        "version offers an organization's identity provider there."
    )
    default_hint = "try without `--flow device`, or update the CLI on the target"


class RedirectNotLoopbackError(RemoteLoginError):
    """The authorize URL does not come back to this machine."""

    code = "KT405"
    title = "Redirect is not a loopback address"
    explanation = (
        "The URL that the remote CLI asked to open has no redirect_uri on localhost, 127.0.0.1 or [::1], or several, "
        "or no state: its callback could not be told from a stranger's, so it was not opened."
    )
    default_hint = "update the CLI on the target; if it is up to date, please report it"


class PromptUnansweredError(RemoteLoginError):
    """The remote CLI asks something, and nobody is there to answer."""

    code = "KT406"
    title = "Question without an answer"
    explanation = (
        "The remote CLI shows a menu or asks for a value, and kirotunnel runs without a terminal on which a person "
        "could answer, or the menu lacks what --method asked for."
    )
    default_hint = "run it on a terminal, or give --method (and --start-url, --region for idc)"


class CallbackUndeliveredError(RemoteLoginError):
    """The callback arrived here, but the remote CLI no longer took it."""

    code = "KT407"
    title = "Callback not delivered"
    explanation = (
        "The browser came back with the answer of the sign-in, but nothing listened any more on the target: the CLI "
        "ended, or its one-visitor listener was used up by another connection there."
    )
    default_hint = "run the command again; leave the callback port on the target alone meanwhile"


class NoLoginWaitingError(RemoteLoginError):
    """No login waits on the target."""

    code = "KT408"
    title = "No login is waiting"
    explanation = (
        "No process of this user listens on a callback port of the target, so there is nothing to attach to. The CLI "
        "listens only while its login waits for the browser."
    )
    default_hint = "start the login there and attach while it waits, or name the port with --port"


class PortNotListeningError(RemoteLoginError):
    """The port that the authorize URL names is not listened on at the target."""

    code = "KT409"
    title = "Callback port is not listened on"
    explanation = (
        "The URL names a callback port on which nothing listens at the target. kirotunnel opens no local port that "
        "would lead nowhere, or elsewhere."
    )
    default_hint = "run the command again; if it fails alike, the CLI there is broken or not what it seems"


class WrongAccountError(RemoteLoginError):
    """Another account is signed in than the expected one."""

    code = "KT410"
    title = "Wrong account"
    explanation = (
        "The login went well, but the account that the CLI names afterwards does not match --expect. The CLI stays "
        "signed in as it is; nobody is signed out unasked."
    )
    default_hint = "sign out there, choose the other account in the browser (a private window helps), and run it again"


class NotSignedInError(RemoteLoginError):
    """The CLI ended well, and yet nobody is signed in."""

    code = "KT411"
    title = "Not signed in after the login"
    explanation = "The CLI's login ended without an error, but its own whoami says that nobody is signed in."
    default_hint = "run the command again; look at the CLI's version on the target"


class SeveralLoginsWaitingError(RemoteLoginError):
    """More than one login waits on the target, and nobody could be asked which is meant."""

    code = "KT412"
    title = "Several logins are waiting"
    explanation = "Several processes of this user listen on callback ports of the target; the message lists them."
    default_hint = "name the port that the login shows with --port"


class StillSignedInError(RemoteLoginError):
    """The CLI was told to sign out, and names an account still."""

    code = "KT413"
    title = "Still signed in after the logout"
    explanation = (
        "The CLI's logout was run on the target, but its own whoami names an account afterwards: it keeps several, or "
        "the logout failed there."
    )
    default_hint = "run the CLI's logout there by hand and read what it says"


# --- KT5xx: a port of this machine -----------------------------------------------------------------------------------


class LocalPortError(KirotunnelError):
    """A port that is needed here is in use."""

    code = "KT501"
    exit_code = 7
    title = "Address already in use"
    explanation = (
        "The callback port is the remote CLI's choice and cannot be changed on this side: the sign-in service accepts "
        "no other. That very port is in use on this machine, on 127.0.0.1 or on ::1; a browser may take either. Ports "
        "of the CLI's list that are busy here are held on the target, so that it takes another; so either none was "
        "free at both ends, or the target has no means to hold one, or the port is one that no list names."
    )
    default_hint = "end what holds the port (`kirotunnel ports` says what it is), or use --paste, which binds none"


class PortNotPermittedError(LocalPortError):
    """The remote asks for a local port that it must not have."""

    code = "KT502"
    title = "Port not permitted"
    explanation = (
        "Only ports from 1024 up, named by the redirect and really listened on by the target, are opened here, and at "
        "most four in one login."
    )
    default_hint = "a well-behaved CLI never asks for this; find out what runs on the target"


class CallbackPortsBusyError(LocalPortError):
    """No port of the fixed list is free on this machine."""

    code = "KT503"
    title = "No callback port is free"
    explanation = (
        "The sign-in page sends the browser back to one of ten fixed ports of this machine only, since it accepts no "
        "others, and each of the ten is in use here."
    )
    default_hint = "end one of the processes that hold them, or sign in with `--flow device`, which needs no port"


class PortAwaitedError(LocalPortError):
    """Two legs on one port would take any callback."""

    code = "KT504"
    title = "Another attach waits on this port"
    explanation = (
        "Logins share a callback port: each callback is told by its state whose it is. `attach` helps a login whose "
        "state it cannot know, so it takes a callback that belongs to nobody else, and there can be only one of these "
        "on a port at a time."
    )
    default_hint = "finish or end the other `kirotunnel attach`, and run the command again"


# --- KT6xx: the sign-in ----------------------------------------------------------------------------------------------


class OAuthError(KirotunnelError):
    """The sign-in was refused or is broken."""

    code = "KT601"
    exit_code = 8
    title = "Sign-in denied"
    explanation = (
        "The sign-in page sent the browser back with an error instead of an approval: somebody pressed Cancel or Deny, "
        "or the service does not allow this account or application."
    )
    default_hint = "run the command again and approve the request; ask your administrator if approving is not offered"


class StateMismatchError(OAuthError):
    """The state of the answer is not the state of the request."""

    code = "KT602"
    title = "State mismatch"
    explanation = (
        "The CLI got an answer that belongs to another sign-in (RFC 6749 §10.12). Through kirotunnel that cannot come "
        "from the browser here; something on the target reached its callback port first."
    )
    default_hint = "run the command again; on a machine with many users somebody may be probing the callback ports"


class TokenRequestError(OAuthError):
    """The code could not be exchanged for a token."""

    code = "KT603"
    title = "Token request failed"
    explanation = (
        "The browser part went well, but the authorization code could not be exchanged for a token. On a target, the "
        "CLI needs to reach the sign-in service itself: proxy, DNS, clock and TLS certificates there are the usual "
        "causes. Here, the service refused the code: each is good for one use within a few minutes."
    )
    default_hint = "check the target's own network and clock, then run the command again"


class DeviceCodeExpiredError(OAuthError):
    """The one-time code was not confirmed in time."""

    code = "KT604"
    title = "Device code expired"
    explanation = "One-time codes live for a few minutes (RFC 8628 §3.2); nobody confirmed this one in that time."
    default_hint = "run the command again and confirm the code while it lives"


class DiscoveryError(OAuthError):
    """The identity provider's description of itself cannot be used."""

    code = "KT605"
    title = "Identity provider cannot be used"
    explanation = (
        "An identity provider describes itself at a well-known address (OpenID Connect Discovery, RFC 8414). There is "
        "nothing at that address, or what is there names another issuer, lacks an endpoint, or has one that is no "
        "https address. A description in another issuer's name is never used (RFC 8414 §3.3)."
    )
    default_hint = "compare --issuer, letter by letter, with the issuer that your identity provider's own page shows"


class IdTokenError(OAuthError):
    """The ID token does not prove what it should."""

    code = "KT606"
    title = "ID token not valid"
    explanation = (
        "The identity provider sent an ID token whose signature, issuer, audience, nonce or time does not hold (OpenID "
        "Connect Core §3.1.3.7), so it does not prove who signed in. Clocks may be five minutes apart."
    )
    default_hint = "check this machine's clock; if it is right, show the message to the provider's administrator"


class UrlRefusedError(OAuthError):
    """The remote wants a URL opened that must never be opened."""

    code = "KT607"
    title = "URL refused"
    explanation = (
        "The target asked to open something that is no plain https URL: another scheme, user information, control "
        "characters, spaces, or far too long. Such URLs can run programs on this machine; they are never opened."
    )
    default_hint = "find out what runs on the target before signing in there"


class UrlHostPrivateError(UrlRefusedError):
    """The URL points at this machine or into a private network."""

    code = "KT608"
    title = "URL points at a private address"
    explanation = (
        "The target asked to open a page on this machine or in a private network. That could be used to reach what "
        "only your browser can reach, so it needs your word beforehand."
    )
    default_hint = "if it is your own identity provider, allow it with --trust-url-host HOST[:PORT]"


class UrlHostUnknownError(UrlRefusedError):
    """The URL is on a host that this CLI is not known to use."""

    code = "KT609"
    title = "URL on an unknown host"
    explanation = (
        "The CLI's known sign-in hosts do not include the one of this URL. On a terminal kirotunnel asks; without one "
        "it refuses, since a hostile target could send you to a page of its own."
    )
    default_hint = "if you know the host as your sign-in page, allow it with --trust-url-host HOST"


class ServiceUnreachableError(OAuthError):
    """The sign-in service does not answer."""

    code = "KT610"
    title = "Sign-in service not reached"
    explanation = (
        "No usable answer came from the service after several attempts: no network, no such name, a proxy that is not "
        "there, a connection that broke, or a service in trouble (status 5xx). A session that is kept stays kept."
    )
    default_hint = "check the network, and HTTPS_PROXY and NO_PROXY if you use a proxy, and run the command again"


class CertificateError(ServiceUnreachableError):
    """The service's certificate is not trusted."""

    code = "KT611"
    title = "Certificate not trusted"
    explanation = (
        "The TLS certificate that the service showed is not signed by an authority that this machine trusts, is for "
        "another name, or has expired. Behind a company's inspecting proxy its authority must be among the system's. "
        "The check cannot be turned off."
    )
    default_hint = "add your company's certificate authority to the system, or name its file with SSL_CERT_FILE"


class ServiceReplyError(OAuthError):
    """The service's answer cannot be understood."""

    code = "KT612"
    title = "Answer not understood"
    explanation = (
        "What came back is not the JSON that the sign-in service sends: an HTML page (a captive portal or a proxy), a "
        "text that breaks off, one that is far too large, or one without the members that it must have."
    )
    default_hint = "open the service's address in a browser: a network that wants you to log in first shows it there"


class SessionEndedError(OAuthError):
    """The service refused to renew the session."""

    code = "KT613"
    title = "Session ended"
    explanation = (
        "The service no longer accepts the refresh token: it expired, was revoked, or was used by a copy of this "
        "session. The session was removed here."
    )
    default_hint = "sign in again with `kirotunnel login`"


class NobodySignedInError(OAuthError):
    """There is no session on this machine."""

    code = "KT614"
    title = "Nobody is signed in here"
    explanation = "There is no session of kirotunnel's own on this machine, or none of the method that was asked for."
    default_hint = "sign in with `kirotunnel login`"


class IssuerMismatchError(OAuthError):
    """The answer of the sign-in comes from another issuer than the one that was asked."""

    code = "KT615"
    title = "Answer from another issuer"
    explanation = (
        "The browser came back with an answer whose `iss` is not the identity provider that was asked (RFC 9207), as "
        "happens when one provider passes off another's answer as its own. Its code was not used."
    )
    default_hint = "run the command again; if it fails alike, show the message to the provider's administrator"


class FlowUnavailableError(OAuthError):
    """This way of signing in does not exist there."""

    code = "KT616"
    title = "Way of signing in not available"
    explanation = (
        "The combination of --method and --flow does not exist: an identity provider need not offer one-time codes, "
        "and without --issuer and --client-id it is found through the portal, which needs a callback."
    )
    default_hint = "leave --flow out, or choose another --method"


class ServiceRefusedError(OAuthError):
    """The service refused a request of the sign-in."""

    code = "KT617"
    title = "Request refused"
    explanation = (
        "The sign-in service understood the request and refused it; the message has its words. For IAM Identity "
        "Center a wrong start URL or region is the usual cause."
    )
    default_hint = "check --start-url, --region, --issuer and --client-id, whichever you gave"


class WrongMethodError(OAuthError):
    """Another way of signing in was chosen in the browser than was asked for."""

    code = "KT618"
    title = "Another method was chosen"
    explanation = (
        "--method names one way of signing in, and in the browser another one was chosen. Nobody was signed in, since "
        "it would have been another account than the one that was asked for."
    )
    default_hint = "choose the same way in the browser, or leave --method out"


class StateNotUniqueError(OAuthError):
    """Two legs on one port have the same state."""

    code = "KT619"
    title = "Another sign-in has the same state"
    explanation = (
        "Logins share a callback port: each callback is told by its state whose it is, and a state is drawn at random "
        "for one sign-in (RFC 6749 §10.12). The remote CLI asked for a sign-in with the state of another one that "
        "waits on the same port. It is copied or the CLI is broken; either way the second does not get the callback "
        "of the first."
    )
    default_hint = "run the command again; if it comes again, find out what runs on the target"


# --- the rest --------------------------------------------------------------------------------------------------------


class LoginTimedOutError(KirotunnelError):
    """The sign-in was not finished in time."""

    code = "KT701"
    exit_code = 9
    title = "Authentication timed out"
    explanation = (
        "The time for the sign-in was over before it was finished. The message says what was still missing: the "
        "browser never came back, it came and was refused, the CLI did not answer, or the code was never confirmed."
    )
    default_hint = "run the command again; --timeout SECONDS gives more time"


class InternalError(KirotunnelError):
    """A bug in kirotunnel."""

    code = "KT900"
    exit_code = 70
    title = "A bug in kirotunnel"
    explanation = "Something happened that kirotunnel did not foresee. Running with -vv shows where."
    default_hint = "please report it, with the output of the same command with -vv"


def all_errors() -> dict[str, type[KirotunnelError]]:
    """Every error class that has a code of its own, by code, in order."""
    found: dict[str, type[KirotunnelError]] = {}
    waiting = [KirotunnelError]
    while waiting:
        cls = waiting.pop()
        waiting.extend(cls.__subclasses__())
        if cls is not KirotunnelError and "code" in vars(cls):
            found[cls.code] = cls
    return dict(sorted(found.items()))
