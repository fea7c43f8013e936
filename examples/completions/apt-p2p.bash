# shellcheck shell=bash
# Made by `cargo run --example manual`.
_apt_p2p() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' word offers
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in cleanup | verify | import | status | dht | lookup | crawl) command=$word ;; esac
    done
    case $before in
    --allow | --allow-connect | --allow-upstream | --bootstrap | --duration | --keyring | --listen | --max-size | --neighbour | --network | --peer-listen | --public | --upload-rate | --upstream | --upstream-proxy | --workers)
        COMPREPLY=()
        return
        ;;
    --cache)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --config | --index | --secret)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --mainline)
        mapfile -t COMPREPLY < <(compgen -W 'ask serve off' -- "$current")
        return
        ;;
    --mdns | --port-mapping)
        mapfile -t COMPREPLY < <(compgen -W 'on off' -- "$current")
        return
        ;;
    --prefer)
        mapfile -t COMPREPLY < <(compgen -W 'speed offload' -- "$current")
        return
        ;;
    --prefetch)
        mapfile -t COMPREPLY < <(compgen -W 'off lookup night' -- "$current")
        return
        ;;
    --share)
        mapfile -t COMPREPLY < <(compgen -W 'internet lan off' -- "$current")
        return
        ;;
    --signatures)
        mapfile -t COMPREPLY < <(compgen -W 'off report enforce' -- "$current")
        return
        ;;
    esac
    case $command in
    '') offers='cleanup verify import status dht lookup crawl --config --listen --cache --max-size --allow --upstream --allow-upstream --upstream-proxy --allow-connect --share --peer-listen --public --upload-rate --network --secret --bootstrap --mainline --neighbour --prefer --mdns --port-mapping --prefetch --signatures --keyring --workers --version --help' ;;
    cleanup) offers='--max-size --dry-run --config --cache --json --help' ;;
    verify) offers='--config --cache --json --help' ;;
    import)
        offers='--index --max-size --config --cache --json --help'
        [[ $current == -* ]] || {
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
        }
        ;;
    status) offers='--config --cache --json --help' ;;
    dht) offers='--config --cache --json --help' ;;
    lookup) offers='--network --secret --bootstrap --config --cache --json --help' ;;
    crawl) offers='--network --bootstrap --duration --config --cache --json --help' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$offers" -- "$current")
}
complete -F _apt_p2p apt-p2p
