"""What can be wrong on the way to a route's server, from the name to the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from ..remote import explain
from .limits import CLOCKS_DIFFER, EXPIRES_SOON
from .reached import Reached
from .table import MACHINE, NAMES, REFUSED, Check, Unknown, Values, known

#: What keeps a server that runs here from answering has its reasons there: the servers' checks.
OF_SERVERS = ("refused", "port-silent", "host-silent", "no-answer", "loading", "gateway")


def stopped(kind: str) -> Callable[[Reached], Iterator[Values]]:
    def find(seen: Reached) -> Iterator[Values]:
        problem = seen.problem
        if problem and problem.kind == kind and not (seen.route.served and kind in OF_SERVERS):
            yield {**problem.values, "detail": problem.said, "proxy": seen.proxy}

    return find


def files_unread(seen: Reached) -> Iterator[Values]:
    if isinstance(seen.session, Unknown):
        yield {"detail": seen.session.why}


def url_differs(seen: Reached) -> Iterator[Values]:
    found = known(seen.session).find("ANTHROPIC_BASE_URL")
    # A managed one is a finding of the session's.
    own = found if found and found.source.kind == "--settings" else None
    if own and explain.origin(str(own.value)) != explain.origin(seen.route.url):
        yield {"other": explain.hidden(str(own.value))}


def ends_soon(seen: Reached) -> Iterator[Values]:
    days = known(seen.days)
    if days is not None and days < EXPIRES_SOON:
        yield {"days": "%d" % days}


def clock(seen: Reached) -> Iterator[Values]:
    ahead = known(seen.ahead)
    if ahead is not None and abs(ahead) > CLOCKS_DIFFER:
        yield {"seconds": "%d" % abs(ahead), "way": "ahead of" if ahead > 0 else "behind"}


DEPLOY = "ask who deploys homeport to run the deploy again for this machine"
#: What tells more on a server, also where it is a GPU host.
_THERE = "homeport-doctor (on a GPU host: sudo /var/lib/homeport/bin/homeport-doctor)"
_ISSUER = "openssl s_client -connect {address} -servername {host} </dev/null 2>/dev/null"
_CHAIN = "openssl s_client -showcerts -connect {address} </dev/null"


CHECKS: tuple[Check[Reached], ...] = (
    # The way there, from the first step to the last: one of them at most.
    Check(
        "route-files",
        REFUSED,
        symptom="the settings of {alias} cannot be used",
        cause="a file of the route is gone, or is not as the deploy wrote it",
        fix="see who may read it: ls -l {file}; then " + DEPLOY,
        source="the use-script, which needs it",
        find=files_unread,
    ),
    Check(
        "route-elsewhere",
        REFUSED,
        symptom="{alias} asks {other}, and its server is {url}",
        cause="the settings of the route have another host or port than the deploy wrote",
        fix=DEPLOY,
        source="the route's settings file, against what was deployed",
        find=url_differs,
    ),
    Check(
        "proxy",
        REFUSED,
        symptom="{alias} goes through the proxy of {proxy}, which does not pass it on",
        cause="a proxy is set for a server that it cannot reach, or does not answer itself",
        fix='export NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}{host}" '
        'no_proxy="${{no_proxy:+$no_proxy,}}{host}"',
        source="measured, Claude Code 2.1.330 takes the shell's proxy",
        find=stopped("proxy"),
    ),
    Check(
        "name-unknown",
        REFUSED,
        symptom="this machine knows no host {host}",
        cause="neither DNS nor /etc/hosts has the name; or it is only known inside a VPN",
        fix="check the VPN and the name: getent hosts {host} (on a Mac: dscacheutil -q host "
        "-a name {host}); else have DNS, or /etc/hosts as root, name its address",
        source="getaddrinfo(3), EAI_NONAME",
        find=stopped("name"),
    ),
    Check(
        "dns-silent",
        REFUSED,
        symptom="nobody tells where {host} is",
        cause="the DNS servers of this machine do not answer",
        fix="check network and VPN, and the servers that are asked: cat /etc/resolv.conf "
        "(on a Mac: scutil --dns); or have /etc/hosts, as root, name the address of {host}",
        source="getaddrinfo(3), EAI_AGAIN",
        find=stopped("dns-silent"),
    ),
    Check(
        "no-network",
        REFUSED,
        symptom="this machine has no way to {host}",
        cause="its network, or the VPN, is off",
        fix="connect it; what there is: ip route (on a Mac: netstat -rn)",
        source="connect(2), ENETUNREACH",
        find=stopped("no-network"),
    ),
    Check(
        "host-silent",
        REFUSED,
        symptom="{host} does not answer at all",
        cause="it is off or asleep, has another address, or a firewall drops all of it",
        fix="ask who runs {host} whether it is up; from here: ping -c 3 {host}",
        source="no answer on its port, nor on 22, 80 and 443",
        find=stopped("host-silent"),
    ),
    Check(
        "port-silent",
        REFUSED,
        symptom="{host} is up, and does not answer on port {port}",
        cause="a firewall drops what comes to that port",
        fix="ask who runs {host} to open the port; there: sudo nft list ruleset (or: sudo iptables "
        "-S, sudo ufw status), and what listens: ss -ltn 'sport = :{port}'",
        source="it answers on 22, 80 or 443",
        find=stopped("port-silent"),
    ),
    Check(
        "refused",
        REFUSED,
        symptom="nothing listens at {url}",
        cause="its server is not started, loads its model yet, or listens on its own loopback only",
        fix="ask who runs {host}; there, why: " + _THERE + "; and what listens: "
        "ss -ltn 'sport = :{port}'",
        source="connect(2), ECONNREFUSED; vLLM refuses until it has loaded",
        find=stopped("refused"),
    ),
    Check(
        "no-answer",
        REFUSED,
        symptom="{url} takes the call, and says nothing",
        cause="its server hangs, or has more to do than it can",
        fix="ask who runs {host}; from here: curl -m 20 {url}/health; there: " + _THERE,
        source="no answer in 5 s",
        find=stopped("no-answer"),
    ),
    # TLS
    Check(
        "ca-unread",
        REFUSED,
        symptom="the certificates that {alias} trusts cannot be read",
        cause="the file with the signer's certificate is gone, or holds none",
        fix=DEPLOY,
        source="ca_file of the route",
        find=stopped("ca"),
    ),
    Check(
        "cert-expired",
        REFUSED,
        symptom="the certificate of {url} has expired",
        cause="nobody renewed the server's certificate in time",
        fix="ask who runs {host} to renew it; its dates: "
        + _ISSUER
        + " | openssl x509 -noout -dates",
        source="OpenSSL, X509_V_ERR_CERT_HAS_EXPIRED",
        find=stopped("cert-expired"),
    ),
    Check(
        "cert-early",
        REFUSED,
        symptom="the certificate of {url} is not valid yet",
        cause="it was made for later, or the clock of this machine is behind",
        fix="compare: date -u; " + _ISSUER + " | openssl x509 -noout -dates",
        source="OpenSSL, X509_V_ERR_CERT_NOT_YET_VALID",
        find=stopped("cert-early"),
    ),
    Check(
        "cert-name",
        REFUSED,
        symptom="the certificate of {url} is for another name",
        cause="the route has a name or address that the server's certificate does not",
        fix="set host of the route to a name that it has, and deploy again; they are: "
        + _ISSUER
        + " | "
        "openssl x509 -noout -text | grep -A1 'Subject Alternative Name'",
        source="OpenSSL, X509_V_ERR_HOSTNAME_MISMATCH",
        find=stopped("cert-name"),
    ),
    Check(
        "cert-unknown",
        REFUSED,
        symptom="the certificate of {url} is signed by somebody whom this machine does not trust",
        cause="its signer is a private one, and not in ca_file of the route; or it sends no chain",
        fix="ask who runs {host} for the signer's certificate, set ca_file of the route to it, and "
        "deploy again; what it sends: " + _CHAIN,
        source="OpenSSL, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        find=stopped("cert-unknown"),
    ),
    Check(
        "cert-other",
        REFUSED,
        symptom="the certificate of {url} is not accepted",
        cause="something is wrong with it, or with one in its chain",
        fix="ask who runs {host}; what it sends: " + _CHAIN,
        source="OpenSSL's verification",
        find=stopped("cert-other"),
    ),
    Check(
        "tls-old",
        REFUSED,
        symptom="{url} speaks no TLS that is in use today",
        cause="what ends TLS there knows nothing newer than TLS 1.1",
        fix="ask who runs {host} to turn on TLS 1.2 and 1.3; to see it: openssl s_client -tls1_2 "
        "-connect {address} </dev/null",
        source="RFC 8996; OpenSSL 3 and Node take 1.2 and newer",
        find=stopped("tls-old"),
    ),
    Check(
        "https-to-http",
        REFUSED,
        symptom="{url} speaks plain http",
        cause="the route says https, and its server has no TLS",
        fix="set tls = False for the route, or have TLS there; then deploy again",
        source="it answers plain HTTP, and no TLS handshake",
        find=stopped("https-to-http"),
    ),
    Check(
        "http-to-https",
        REFUSED,
        symptom="{url} wants https",
        cause="the route says http, and its server has TLS",
        fix="set tls = True for the route, and deploy again",
        source="it answers a TLS handshake, and no plain HTTP",
        find=stopped("http-to-https"),
    ),
    Check(
        "tls-other",
        REFUSED,
        symptom="{url} does not get TLS going",
        cause="what listens there breaks off the handshake, or is no TLS server",
        fix="ask who runs {host}; to see it: openssl s_client -connect {address} </dev/null",
        source="OpenSSL's handshake",
        find=stopped("tls-other"),
    ),
    # The answer
    Check(
        "no-http",
        REFUSED,
        symptom="what listens at {url} is no HTTP server",
        cause="another program has the port, or one breaks off every call",
        fix="ask who runs {host}; there: sudo ss -ltnp 'sport = :{port}'",
        source="its answer is not HTTP",
        find=stopped("no-http"),
    ),
    Check(
        "token-refused",
        REFUSED,
        symptom="{url} takes another token",
        cause="server and client were deployed with different tokens",
        fix="ask who deploys homeport to deploy {host} and this machine again, with one token",
        source="HTTP 401 or 403 from /v1/models",
        find=stopped("token"),
    ),
    Check(
        "token-broken",
        REFUSED,
        symptom="the token of {alias} cannot be sent",
        cause="a line break, or what is no letter, is in the token or in a header of the client's",
        fix="see ANTHROPIC_AUTH_TOKEN and ANTHROPIC_CUSTOM_HEADERS in {file}; or " + DEPLOY,
        source="RFC 9110, field values",
        find=stopped("header"),
    ),
    Check(
        "loading",
        REFUSED,
        symptom="{url} is not ready yet",
        cause="its server still loads the model; or it is none that is behind a proxy there",
        fix="wait, a large model takes up to an hour; whether it answers: curl {url}/health; how "
        "far it is, on {host}: " + _THERE,
        source="HTTP 503, as llama.cpp and SGLang say it while they load",
        find=stopped("loading"),
    ),
    Check(
        "gateway",
        REFUSED,
        symptom="what is in front of {alias} answers, and its server does not",
        cause="the proxy at the server's own end reaches no server behind it",
        fix="ask who runs {host}; there: " + _THERE,
        source="HTTP 502 and 504 are a proxy's (RFC 9110)",
        find=stopped("gateway"),
    ),
    Check(
        "no-models",
        NAMES,
        symptom="{url}/v1/models answers HTTP {status}, and lists no models",
        cause="it is another server, or a proxy that does not pass this path on",
        fix="check host and port of the route; what it says: curl -i {url}/v1/models",
        source="llama.cpp, vLLM and SGLang all have the path",
        find=stopped("no-models"),
    ),
    # Soon, or elsewhere
    Check(
        "cert-expiring",
        REFUSED,
        symptom="the certificate of {url} expires in {days} days",
        cause="the server's certificate is about to expire",
        fix="ask who runs {host} to renew it; its dates: "
        + _ISSUER
        + " | openssl x509 -noout -dates",
        source="its notAfter, against this machine's clock",
        find=ends_soon,
        warning=True,
    ),
    Check(
        "clock",
        MACHINE,
        symptom="the clock of this machine is {seconds} s {way} that of {host}",
        cause="one of the two is not set by NTP",
        fix="here and there: timedatectl, and sudo timedatectl set-ntp true (on a Mac: sudo sntp "
        "-sS time.apple.com)",
        source="the Date of its answer",
        find=clock,
        warning=True,
    ),
)
