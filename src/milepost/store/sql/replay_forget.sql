-- A replay that moved nothing, and that nobody can go on with.
delete from milepost.replays where tenant = $1 and id = $2
