import json


def test_make_list_and_allow(airmeta, workdir):
    code, out, _ = airmeta("keys", "new", "coordinator", "d3", "--out", "there", "--json")
    made = json.loads(out)
    assert code == 0
    assert made["d3"] == {"secret": "there/d3.secret", "public": "there/d3.public"}
    airmeta("keys", "new", "rx", "--out", "here")
    code, out, _ = airmeta("keys", "allow", "there/d3.public", "here", "--json")
    assert (code, json.loads(out)) == (0, {"allowed": "d3"})
    code, out, _ = airmeta("keys", "list", "here", "--json")
    rows = {row["name"]: row for row in json.loads(out)["keys"]}
    assert {name: row["secret_here"] for name, row in rows.items()} == {"d3": False, "rx": True}
    assert rows["d3"]["public"] == (workdir / "there/d3.public").read_text().strip()


def test_keys_are_printed_as_they_are_and_secrets_never(airmeta, workdir):
    airmeta("keys", "new", "d3")
    # Brackets are characters of keys, and of markup.
    (workdir / "keys/d4.public").write_text("[bold]" + "0" * 34)
    code, out, _ = airmeta("keys", "list")
    assert code == 0
    assert "[bold]" + "0" * 34 in out
    assert (workdir / "keys/d3.secret").read_text().strip() not in out


def test_mistakes(airmeta, workdir):
    airmeta("keys", "new", "d3")
    for arguments, says in (
        (("new", "d3"), "keys/d3.secret: exists"),
        (("new", "a/b"), "is no name of a node"),
        (("new", "d4", "--out", "small.yaml/keys"), "keys cannot be written"),
        (("list", "nowhere"), "nowhere: there is no such folder"),
        (("allow", "keys/d3.secret"), "should be the file NAME.public"),
        (("allow", "d9.public"), "d9.public: cannot be read"),
        (("new",), "Missing argument"),
    ):
        code, out, err = airmeta("keys", *arguments)
        assert code == 2, arguments
        assert out == ""
        assert says in " ".join(err.split())
        assert "Traceback" not in err
