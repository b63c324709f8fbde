#!/bin/sh
# kirotunnel's stand-in for the browser opener: hands the URL to the machine where the person sits.
# The CLI waits until nobody holds its pipes any more (Kiro#9964), so they are let go of first.
exec >/dev/null 2>&1 </dev/null
[ "$1" = --kirotunnel-check ] && exit 0
d=${0%/bin/*}
read -r nonce <"$d/nonce" || exit 1
url=$1
for word; do
	case $word in http://* | https://*) url=$word ;; esac # after options, as in `open -u URL`
done
case $url in *'
'*) url=$(printf '%s' "$url" | tr '\n' '\001') ;; esac
printf '\n%s url %s\n' "$nonce" "$url" 1<>"$d/pipe"
