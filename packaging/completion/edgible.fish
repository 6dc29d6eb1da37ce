# fish completion of edgible and edgible-agent
function __edgible_applications
    edgible application list --json 2>/dev/null |
        grep -o '"id":"[^"]*","name":"[^"]*"' | sed 's/.*"name":"//; s/"//'
end
for program in edgible edgible-agent
    complete -c $program -f
    complete -c $program -n __fish_use_subcommand -a 'stack application device agent app'
    complete -c $program -n '__fish_seen_subcommand_from stack; and not __fish_seen_subcommand_from validate diff deploy status teardown' -a validate -d 'check v3 documents; needs no agent'
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from validate' -l file -s f -rF
    complete -c $program -n '__fish_seen_subcommand_from stack; and not __fish_seen_subcommand_from validate diff deploy status teardown' -a diff -d 'what a deploy would change, and which workloads would restart'
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from diff' -l file -s f -rF
    complete -c $program -n '__fish_seen_subcommand_from stack; and not __fish_seen_subcommand_from validate diff deploy status teardown' -a deploy -d 'put the applications, and wait until they run'
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from deploy' -l file -s f -rF
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from deploy' -l no-wait
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from deploy' -l timeout -x
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from deploy' -l new-device
    complete -c $program -n '__fish_seen_subcommand_from stack; and not __fish_seen_subcommand_from validate diff deploy status teardown' -a status -d 'the state of those applications, or of all'
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from status' -l file -s f -rF
    complete -c $program -n '__fish_seen_subcommand_from stack; and not __fish_seen_subcommand_from validate diff deploy status teardown' -a teardown -d 'remove those applications, and wait until they are gone'
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from teardown' -l file -s f -rF
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from teardown' -l name -x
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from teardown' -l no-wait
    complete -c $program -n '__fish_seen_subcommand_from stack; and __fish_seen_subcommand_from teardown' -l timeout -x
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a list -d 'all applications of the device'
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a get -d 'one application, by its id or name'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from get' -l id -s i -xa '(__edgible_applications)'
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a events -d 'what happened to it'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from events' -l id -s i -xa '(__edgible_applications)'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from events' -l lines -s n -x
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from events' -l follow -s f
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a logs -d 'what it printed'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from logs' -l id -s i -xa '(__edgible_applications)'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from logs' -l workload -s w -x
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from logs' -l lines -s n -x
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from logs' -l follow -s f
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from logs' -l raw
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a restart -d 'new processes, counters forgiven'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from restart' -l id -s i -xa '(__edgible_applications)'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from restart' -l workload -s w -x
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a update -d 'suspend or resume it'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from update' -l id -s i -xa '(__edgible_applications)'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from update' -l target-state -xa 'running suspended'
    complete -c $program -n '__fish_seen_subcommand_from application app; and not __fish_seen_subcommand_from list get events logs restart update why' -a why -d 'why it is in the state it is in, and what happens next'
    complete -c $program -n '__fish_seen_subcommand_from application app; and __fish_seen_subcommand_from why' -l id -s i -xa '(__edgible_applications)'
    complete -c $program -n '__fish_seen_subcommand_from device; and not __fish_seen_subcommand_from application-health health' -a application-health -d 'one row a workload'
    complete -c $program -n '__fish_seen_subcommand_from device; and __fish_seen_subcommand_from application-health' -l name -x
    complete -c $program -n '__fish_seen_subcommand_from device; and not __fish_seen_subcommand_from application-health health' -a health -d 'Health check OK, or what is wrong'
    complete -c $program -n '__fish_seen_subcommand_from device; and __fish_seen_subcommand_from health' -l name -x
    complete -c $program -n '__fish_seen_subcommand_from agent; and not __fish_seen_subcommand_from status logs set-log-level' -a status -d 'the agent itself'
    complete -c $program -n '__fish_seen_subcommand_from agent; and __fish_seen_subcommand_from status' -l watch
    complete -c $program -n '__fish_seen_subcommand_from agent; and not __fish_seen_subcommand_from status logs set-log-level' -a logs -d 'the agents own log'
    complete -c $program -n '__fish_seen_subcommand_from agent; and __fish_seen_subcommand_from logs' -l lines -s n -x
    complete -c $program -n '__fish_seen_subcommand_from agent; and __fish_seen_subcommand_from logs' -l follow -s f
    complete -c $program -n '__fish_seen_subcommand_from agent; and __fish_seen_subcommand_from logs' -l level -xa 'error warn info debug'
    complete -c $program -n '__fish_seen_subcommand_from agent; and __fish_seen_subcommand_from logs' -l module -x
    complete -c $program -n '__fish_seen_subcommand_from agent; and __fish_seen_subcommand_from logs' -l raw
    complete -c $program -n '__fish_seen_subcommand_from agent; and not __fish_seen_subcommand_from status logs set-log-level' -a set-log-level -d 'until the agent is restarted or reloaded'
    complete -c $program -l socket -rF -d 'the agent of this socket'
    complete -c $program -l config -rF -d 'the agent, or control plane, of this configuration'
    complete -c $program -l control-plane -x -d 'an HTTPS control plane, by its URL'
    complete -c $program -l device -x -d 'the device that is meant there'
    for file in token ca cert key
        complete -c $program -l $file-file -rF -d 'credentials for it'
    end
    complete -c $program -l json -d 'one JSON document'
    complete -c $program -l plain -d 'no colour'
    complete -c $program -l help
end
