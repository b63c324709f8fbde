"""The words of ssh_config(5) and OpenSSH's defaults, for reading a config where there is no OpenSSH."""

# ruff: noqa: SIM905 - a list of words is read best as words

from __future__ import annotations

from typing import Final

# ssh_config(5) of OpenSSH 9.2, with what has come since; `ssh` refuses a file with any other word in it.
KEYWORDS: Final = frozenset(
    """addkeystoagent addressfamily batchmode bindaddress bindinterface canonicaldomains canonicalizefallbacklocal
    canonicalizehostname canonicalizemaxdots canonicalizepermittedcnames casignaturealgorithms certificatefile
    channeltimeout checkhostip ciphers clearallforwardings compression connectionattempts connecttimeout controlmaster
    controlpath controlpersist dynamicforward enableescapecommandline enablesshkeysign escapechar
    exitonforwardfailure fingerprinthash forkafterauthentication forwardagent forwardx11 forwardx11timeout
    forwardx11trusted gatewayports globalknownhostsfile gssapiauthentication gssapidelegatecredentials hashknownhosts
    hostbasedacceptedalgorithms hostbasedauthentication hostkeyalgorithms hostkeyalias hostname identitiesonly
    identityagent identityfile ignoreunknown ipqos kbdinteractiveauthentication kbdinteractivedevices kexalgorithms
    knownhostscommand localcommand localforward loglevel logverbose macs nohostauthenticationforlocalhost
    numberofpasswordprompts obscurekeystroketiming passwordauthentication permitlocalcommand permitremoteopen
    pkcs11provider port preferredauthentications proxycommand proxyjump proxyusefdpass pubkeyacceptedalgorithms
    pubkeyauthentication rekeylimit remotecommand remoteforward requesttty requiredrsasize revokedhostkeys
    securitykeyprovider sendenv serveralivecountmax serveraliveinterval sessiontype setenv stdinnull
    streamlocalbindmask streamlocalbindunlink stricthostkeychecking syslogfacility tag tcpkeepalive tunnel
    tunneldevice updatehostkeys user userknownhostsfile verifyhostkeydns versionaddendum visualhostkey warnweakcrypto
    refuseconnection xauthlocation
    afstokenpassing challengeresponseauthentication cipher compressionlevel dsaauthentication fallbacktorsh
    globalknownhostsfile2 gssapiclientidentity gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey
    gssapiserveridentity gssapitrustdns hostbasedkeytypes identityfile2 keepalive kerberosauthentication
    kerberostgtpassing     keychainintegration
    protocol proxypass pubkeyacceptedkeytypes rhostsauthentication rhostsrsaauthentication
    rsaauthentication skeyauthentication smartcarddevice tisauthentication useblacklistedkeys usekeychain
    useprivilegedport userknownhostsfile2 useroaming usersh""".split()
)
ALIASES: Final = {
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "tisauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "identityfile2": "identityfile",
}
LISTS: Final = frozenset({"identityfile", "certificatefile", "sendenv", "setenv", "localforward", "remoteforward"})
FILES: Final = frozenset({"userknownhostsfile", "globalknownhostsfile", "revokedhostkeys"})
TIMES: Final = frozenset({"connecttimeout", "serveraliveinterval"})
NUMBERS: Final = frozenset({"serveralivecountmax", "numberofpasswordprompts", "connectionattempts"})
FLAGS: Final = frozenset(
    """batchmode identitiesonly hashknownhosts nohostauthenticationforlocalhost passwordauthentication
    kbdinteractiveauthentication""".split()
)
SEVERAL_WORDS: Final = (
    LISTS
    | FILES
    | frozenset(
        """canonicaldomains canonicalizepermittedcnames channeltimeout dynamicforward ignoreunknown ipqos logverbose
    permitremoteopen rekeylimit globalknownhostsfile2 userknownhostsfile2""".split()
    )
)
SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_CERTIFICATES: Final = "-cert-v01@openssh.com"
_KEY_TYPES: Final = (
    "ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 sk-ssh-ed25519@openssh.com "
    "sk-ecdsa-sha2-nistp256@openssh.com rsa-sha2-512 rsa-sha2-256"
).split()
_KEY_ALGORITHMS: Final = [name.removesuffix("@openssh.com") + _CERTIFICATES for name in _KEY_TYPES] + _KEY_TYPES
DEFAULT_ALGORITHMS: Final[dict[str, list[str]]] = {
    # What OpenSSH 9.2 offers: the base for lists that begin with +, - or ^.
    "hostkeyalgorithms": _KEY_ALGORITHMS,
    "pubkeyacceptedalgorithms": _KEY_ALGORITHMS,
    "casignaturealgorithms": _KEY_TYPES,
    "kexalgorithms": (
        "sntrup761x25519-sha512 sntrup761x25519-sha512@openssh.com "
        "curve25519-sha256 curve25519-sha256@libssh.org ecdh-sha2-nistp256 "
        "ecdh-sha2-nistp384 ecdh-sha2-nistp521 diffie-hellman-group-exchange-sha256 diffie-hellman-group16-sha512 "
        "diffie-hellman-group18-sha512 diffie-hellman-group14-sha256"
    ).split(),
    "ciphers": (
        "chacha20-poly1305@openssh.com aes128-ctr aes192-ctr aes256-ctr aes128-gcm@openssh.com aes256-gcm@openssh.com"
    ).split(),
    "macs": (
        "umac-64-etm@openssh.com umac-128-etm@openssh.com hmac-sha2-256-etm@openssh.com hmac-sha2-512-etm@openssh.com "
        "hmac-sha1-etm@openssh.com umac-64@openssh.com umac-128@openssh.com hmac-sha2-256 hmac-sha2-512 hmac-sha1"
    ).split(),
}
DEFAULT_IDENTITIES: Final = tuple(
    f"~/.ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "xmss", "dsa")
)
