# What Python's own XML-RPC client makes of a pool: python3 client.py URL USER PASSWORD. Its parser (expat) takes nothing
# that is not well formed, and its unmarshaller no type that XML-RPC does not have. Prints "content" when all is well.
import sys
import xmlrpc.client as rpc

url, user, password = sys.argv[1:]


class Transport(rpc.Transport):
    """Looks at the headers as well."""

    def parse_response(self, response):
        assert response.version == 11, response.version
        assert response.getheader("content-type") == "text/xml", response.getheaders()
        assert response.getheader("content-length") is not None
        assert response.getheader("transfer-encoding") is None
        return super().parse_response(response)


class Failure(Exception):
    pass


server = rpc.ServerProxy(url, transport=Transport())


def call(method, *args):
    answer = getattr(server, method)(*args)
    if answer["Status"] == "Success":
        return answer["Value"]
    raise Failure(answer["ErrorDescription"])


def fails(expected, method, *args):
    try:
        call(method, *args)
    except Failure as failure:
        assert failure.args[0] == expected, failure.args[0]
        return
    raise AssertionError(method + " succeeded")


fails(["SESSION_AUTHENTICATION_FAILED", user, "Authentication failure"], "session.login_with_password", user, "wrong")
s = call("session.login_with_password", user, password, "1.0", "python")
assert isinstance(server.system.listMethods(), list)  # the only answer without an envelope

# every object of every class
kinds = set()
for method in server.system.listMethods():
    if method.endswith(".get_all_records"):
        for ref, record in call(method, s).items():
            assert ref.startswith("OpaqueRef:"), ref
            kinds.update(type(value) for value in record.values())
assert kinds == {str, bool, float, list, dict, rpc.DateTime}, kinds  # integers have no tag

# values
[vm] = call("VM.get_by_name_label", s, "web")
text = " <&> \u00e9 \U0001f600\n "
assert call("VM.set_name_description", s, vm, text) == ""
assert call("VM.get_name_description", s, vm) == text
call("VM.set_tags", s, vm, [])
assert call("VM.get_tags", s, vm) == []
call("VM.set_memory_dynamic_min", s, vm, 2**31 - 1)
call("VM.set_memory_dynamic_max", s, vm, str(2**53 + 1))  # beyond <int>
assert call("VM.get_memory_dynamic_max", s, vm) == str(2**53 + 1)
call("VM.set_HVM_shadow_multiplier", s, vm, 1.5)
assert call("VM.get_HVM_shadow_multiplier", s, vm) == 1.5
call("VM.set_is_a_template", s, vm, False)
assert call("VM.get_is_a_template", s, vm) is False
assert str(call("VM.get_snapshot_time", s, vm)) == "19700101T00:00:00Z"
fails(["HANDLE_INVALID", "VM", "OpaqueRef:x"], "VM.get_record", s, "OpaqueRef:x")
fails(["SESSION_INVALID", "OpaqueRef:x"], "VM.get_all", "OpaqueRef:x")
fails(["FIELD_TYPE_ERROR", "value"], "VM.set_is_a_template", s, vm, "true")

# a task, waited for with events
token = call("event.from", s, ["task"], "", 0.1)["token"]
task = call("Async.VM.snapshot", s, vm, "by python")
status = "pending"
while status == "pending":
    batch = call("event.from", s, ["task"], token, 30.0)
    token = batch["token"]
    assert all(type(count) is int for count in batch["valid_ref_counts"].values())
    for event in batch["events"]:
        if event["ref"] == task and event["operation"] != "del":
            status = event["snapshot"]["status"]
assert status == "success"
[snapshot], _ = rpc.loads("<params><param>" + call("task.get_result", s, task) + "</param></params>")
assert call("VM.get_snapshot_of", s, snapshot) == vm

# what is no call
try:
    call("VM.set_name_label", s, vm, "x" * (300 << 10))
    raise AssertionError("a call of more than 300 KiB")
except rpc.ProtocolError as error:
    assert error.errcode == 500, error
assert call("session.logout", s) == ""
fails(["SESSION_INVALID", s], "VM.get_all", s)
print("content")
