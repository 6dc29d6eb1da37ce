# bash completion of edgible and edgible-agent
_edgible() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} noun= verb= word
    local program=${COMP_WORDS[0]}
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            -*) ;;
            *) if [ -z "$noun" ]; then noun=$word; elif [ -z "$verb" ]; then verb=$word; fi ;;
        esac
    done
    case $prev in
        --file|--config|--socket|--*-file) compopt -o default; return ;;
        --control-plane|--device) return ;;
        -f) [ "$noun" = stack ] && { compopt -o default; return; } ;;
        -i|--id)
            mapfile -t COMPREPLY < <(compgen -W "$("$program" application list --json 2>/dev/null |
                grep -o '"id":"[^"]*","name":"[^"]*"' | sed 's/.*"name":"//; s/"//')" -- "$cur")
            return ;;
        --target-state)
            mapfile -t COMPREPLY < <(compgen -W "running suspended" -- "$cur")
            return ;;
        --level|set-log-level)
            mapfile -t COMPREPLY < <(compgen -W "error warn info debug" -- "$cur")
            return ;;
    esac
    local words=
    case "$noun $verb" in
        " ") words="stack application device agent app --config --check --version --help" ;;
        "stack ") words="validate diff deploy status teardown --help" ;;
        "stack validate") words="--file --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "stack diff") words="--file --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "stack deploy") words="--file --no-wait --timeout --new-device --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "stack status") words="--file --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "stack teardown") words="--file --name --no-wait --timeout --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application ") words="list get events logs restart update why --help" ;;
        "application list") words="--socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application get") words="--id --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application events") words="--id --lines --follow --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application logs") words="--id --workload --lines --follow --raw --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application restart") words="--id --workload --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application update") words="--id --target-state --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "application why") words="--id --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app ") words="list get events logs restart update why --help" ;;
        "app list") words="--socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app get") words="--id --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app events") words="--id --lines --follow --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app logs") words="--id --workload --lines --follow --raw --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app restart") words="--id --workload --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app update") words="--id --target-state --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "app why") words="--id --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "device ") words="application-health health --help" ;;
        "device application-health") words="--name --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "device health") words="--name --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "agent ") words="status logs set-log-level --help" ;;
        "agent status") words="--watch --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "agent logs") words="--lines --follow --level --module --raw --socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
        "agent set-log-level") words="--socket --config --control-plane --device --token-file --ca-file --cert-file --key-file --json --plain --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _edgible edgible edgible-agent
