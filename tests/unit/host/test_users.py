from __future__ import annotations

import grp
import os
import pwd

from bridge.host.users import group_id, groups_of, missing_owner, spellings, user_id, user_name


def test_names_and_numbers() -> None:
    assert spellings("uid", "0") == spellings("uid", "root") == {"root", "0"}
    assert spellings("gid", "0") == {"root", "0"}
    assert spellings("uid", "no-such-user") == {"no-such-user"}
    assert missing_owner("root", "root") == missing_owner("4001", "4001") == missing_owner("", "") == ""
    assert missing_owner("no-such-user", "") == "user no-such-user"
    assert missing_owner("root", "no-such-group") == "group no-such-group"


def test_names_become_numbers() -> None:
    assert user_id("root") == user_id("0") == group_id("root") == group_id("0") == 0
    assert user_id("no-such-user") is None
    assert group_id("no-such-group") is None
    assert user_name(0) == "root"
    assert user_name(59_999) == "59999"
    assert groups_of(0) == set(os.getgrouplist("root", pwd.getpwuid(0).pw_gid))
    assert groups_of(59_999) == frozenset()
    assert grp.getgrgid(0).gr_name == "root"
