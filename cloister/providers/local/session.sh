# What sshd runs for every session of a local node (ForceCommand): the session starts in the node's
# home instead of the user's, and is otherwise as sshd would have made it.
cd "$HOME" || exit 255
# The shell that sshd started to run this file has counted itself; the session's own shell is the first.
unset SHLVL OLDPWD
[ -n "${SSH_ORIGINAL_COMMAND+set}" ] || exec "$SHELL" -l
command=$SSH_ORIGINAL_COMMAND
unset SSH_ORIGINAL_COMMAND
exec "$SHELL" -c "$command"
