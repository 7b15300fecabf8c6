# Makes this shell ready for plain `pulumi` and the scripts of this repository:   source env.sh
# Sets variables only; `make setup` installs what they point to. For bash and zsh, from any folder; in plain sh, source it in the
# repository's own folder.
# shellcheck shell=sh disable=SC3028,SC3054
if [ -n "${BASH_VERSION:-}" ]; then
    eval "$(bash "$(dirname "${BASH_SOURCE[0]}")/toolchain/environment.sh")"
elif [ -n "${ZSH_VERSION:-}" ]; then
    eval 'eval "$(bash "$(dirname "${(%):-%x}")/toolchain/environment.sh")"'
else
    eval "$(bash ./toolchain/environment.sh)"
fi
