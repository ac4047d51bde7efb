"""What people do: sign in, deploy, approve, make codes and keys, upload, change a password."""

import io
import re

import pytest

from hub.access import caller
from hub.infrastructure import spokes
from hub.states import SpokeKind, SpokeState, TaskState
from hub.storage.database import connection, write_tx
from hub.storage.models import ApiKey, Deployment, JoinToken, Package, Session, Spoke, Task, User, now_ms
from portal import login
from tests.fakes.feed import zip_of
from tests.fakes.portal_hub import ORIGIN, PASSWORD
from wire.keys import BoxKey, SigningKey


def go_stale() -> None:
    """Let every session have proved its password long ago."""
    with connection(), write_tx():
        Session.update(reauthenticated_at=now_ms() - caller.STEP_UP_MS - 1).execute()


def pending_spoke(portal, name: str, **place) -> Spoke:
    sign, box = SigningKey.generate(), BoxKey.generate()
    row = Spoke(
        name=name,
        state=SpokeState.PENDING,
        sign_pk=sign.verify_key.pk.hex(),
        sign_kid=sign.kid.hex(),
        box_pk=box.public.pk.hex(),
        **place,
    )
    with connection(), write_tx():
        portal.api.installed.seals.seal(row)
        row.save(force_insert=True)
    return row


def test_deploying_from_the_plan_makes_one_task_however_often_the_button_is_pressed(portal, ann):
    path = "/projects/storefront/releases/1.0.0/deploy/Development"
    page = ann.get(path)
    assert "web-1" in page.text
    assert "storefront 1.0.0" in page.text
    with connection():
        before = Deployment.select().count()
    first = ann.submit(path)
    again = ann.submit(path)
    assert first.status_code == again.status_code == 303
    assert first.headers["Location"] == again.headers["Location"]
    with connection():
        assert Deployment.select().count() == before + 1
    other = ann.submit(path, skip="Check")
    assert other.headers["Location"] != first.headers["Location"]
    steps = ann.get(other.headers["Location"]).text
    assert "Deploy web" in steps
    assert '<span class="name">Check</span>' not in steps


def test_a_plan_that_cannot_be_says_why_and_has_no_button(ann):
    page = ann.get("/projects/storefront/releases/1.0.0/deploy/Production").text
    assert "not yet deployed with success in phase" in page
    assert '<button class="main"' not in page


def test_going_back_is_offered_where_a_release_was_and_shows_its_plan_first(portal, ann):
    assert portal.api.post("/releases", {"project": "Storefront", "version": "1.1.0"}).status_code == 201
    for version in ("1.0.0", "1.1.0"):
        wanted = {"project": "Storefront", "release": version, "environment": "Development"}
        portal.end_task(portal.api.post("/deployments", wanted).json["task"])
    path = "/projects/storefront/releases/1.0.0/rollback/Development"
    assert f'href="{path}"' in ann.get("/projects/storefront").text
    assert f'href="{path}"' in ann.get("/projects/storefront/releases/1.0.0").text
    assert "/rollback/" not in ann.get("/projects/storefront/releases/1.1.0").text
    page = ann.get(path).text
    assert "No package is sent" in page
    assert "Roll Development back to 1.0.0" in page
    done = ann.submit(path)
    assert "Roll Storefront back to 1.0.0 in Development" in ann.get(done.headers["Location"]).text
    portal.end_task(done.headers["Location"].rsplit("/", 1)[1])
    assert "rolled back" in ann.get("/").text
    assert (
        "There is no way back now: release 1.0.0 was never in Production"
        in ann.get("/projects/storefront/releases/1.0.0/rollback/Production").text
    )


def test_what_would_change_in_files_is_a_task_with_the_choices_of_the_form(portal, ann):
    page = ann.get("/projects/storefront/releases/1.0.0/deploy/Development").text
    path = "/projects/storefront/releases/1.0.0/preview/Development"
    assert f'formaction="{path}"' in page
    with connection():
        before = Deployment.select().count()
    shown = ann.get(ann.post(path, csrf_token=ann.token(), skip="Check").headers["Location"]).text
    assert "Preview Storefront 1.0.0 in Development" in shown
    assert "a preview, which changes nothing there" in shown
    with connection():
        assert Deployment.select().count() == before


def test_a_refused_release_says_the_engines_sentence_once(portal, ann):
    refused = ann.submit("/projects/storefront/releases", page="/projects/storefront", version="1.0.0")
    assert refused.headers["Location"] == "/projects/storefront"
    assert "1.0.0" in ann.get("/projects/storefront").text.split('class="notice bad"')[1][:300]
    assert 'class="notice bad"' not in ann.get("/projects/storefront").text


def test_cancelling_says_what_is_known_and_what_is_not(portal, ann):
    task = portal.deploy()
    asked = ann.submit(f"/tasks/{task}/cancel", page=f"/tasks/{task}")
    assert asked.headers["Location"] == f"/tasks/{task}"
    assert "whether every process was seen to end" in ann.get(f"/tasks/{task}").text
    late = ann.post(f"/tasks/{task}/cancel", csrf_token=ann.token())
    assert late.status_code == 303
    for state, words in {
        TaskState.CANCELLED: "Cancelled, and confirmed",
        TaskState.UNKNOWN: "How this ended is not known",
        TaskState.CANCELLING: "says whether it did",
    }.items():
        portal.end_task(task, state)
        assert words in ann.get(f"/tasks/{task}").text


def test_the_queue_stands_above_what_has_ended(portal, ann):
    first, second = portal.deploy(), portal.deploy()
    page = ann.get("/tasks").text
    under_way = page.split("Under way")[1].split("<h2>Ended</h2>")[0]
    assert under_way.index(first) < under_way.index(second)


def test_a_task_whose_log_was_taken_back_says_so(portal, ann):
    task = portal.deploy()
    portal.print_lines(task, "a line")
    portal.end_task(task)
    with connection(), write_tx():
        Task.update(cleared_at=now_ms(), log_lines=0).where(Task.id == task).execute()
    page = ann.get(f"/tasks/{task}")
    assert "Its log, plan and files were taken back" in page.text
    assert "without a line" not in page.text


def test_trusting_a_spoke_asks_for_the_password_and_comes_back(portal, ann):
    row = pending_spoke(portal, "db-1")
    page = ann.get("/targets").text
    with connection():
        assert spokes.thumbprint_of(row) in page
    go_stale()
    asked = ann.submit(f"/targets/spokes/{row.id}/approve", page="/targets")
    assert (asked.status_code, asked.headers["Location"]) == (303, "/prove?next=/targets")
    assert Spoke.get_by_id(row.id).state is SpokeState.PENDING
    before = ann.cookie()
    wrong = ann.submit("/prove", page="/prove?next=/targets", password="not this one at all")
    assert wrong.status_code == 401
    proved = ann.submit("/prove", page="/prove?next=/targets", password=PASSWORD)
    assert (proved.status_code, proved.headers["Location"]) == (303, "/targets")
    assert ann.cookie() != before
    ann.submit(f"/targets/spokes/{row.id}/approve", page="/targets")
    assert Spoke.get_by_id(row.id).state is SpokeState.TRUSTED


def test_spokes_and_relays_stand_on_one_page_with_whole_thumbprints_and_are_revoked_there(portal, ann):
    row = pending_spoke(portal, "ear-1", kind=SpokeKind.LISTENING, address="ear-1.example:10933", fleet="default")
    page = ann.get("/spokes").text
    with connection():
        assert spokes.thumbprint_of(row) in page
    assert "ear-1.example:10933, no relay has said anything of it" in page
    ann.submit(f"/targets/spokes/{row.id}/revoke", page="/spokes")
    assert Spoke.get_by_id(row.id).state is SpokeState.REVOKED


def test_a_thumbprint_that_is_not_the_spokes_trusts_nobody(portal, ann):
    row = pending_spoke(portal, "db-2")
    ann.submit(f"/targets/spokes/{row.id}/approve", page="/targets", thumbprint="SHA256:aaaa-bbbb")
    assert Spoke.get_by_id(row.id).state is SpokeState.PENDING
    assert "do not trust it" in ann.get("/targets").text


def test_a_join_code_is_shown_once_and_a_filled_in_form_survives_the_password(portal, ann):
    go_stale()
    assert ann.get("/targets/new").headers["Location"] == "/prove?next=/targets/new"
    ann.submit("/prove", page="/prove?next=/targets/new", password=PASSWORD)
    page = ann.get("/targets/new")
    go_stale()
    asked = ann.submit("/targets/new", roles="web, db", environment="Production", name_pattern="web-*", auto="1")
    assert asked.headers["Location"].startswith("/prove?next=/targets/new?")
    ann.get(asked.headers["Location"])
    back = ann.submit("/prove", password=PASSWORD).headers["Location"]
    filled = ann.get(back).text
    assert 'name="roles" value="web, db"' in filled
    assert 'name="name_pattern" value="web-*"' in filled
    assert len(re.findall(r'type="checkbox" name="\w+" value="[^"]*" checked', filled)) == 2
    made = ann.submit("/targets/new", roles="web, db", environment="Production")
    code = re.search(r"maj1-[\w-]+", made.text)
    assert code is not None
    assert code[0] not in ann.get("/targets/new").text
    with connection():
        token = JoinToken.select().order_by(JoinToken.created_at.desc()).first()
    assert sorted(token.roles) == ["db", "web"]
    ann.submit(f"/targets/join-codes/{token.id}/revoke", page="/targets/new")
    assert JoinToken.get_by_id(token.id).revoked_at is not None
    assert page.status_code == 200


def test_an_api_key_is_shown_once_and_opens_the_api_until_it_is_revoked(portal, ann):
    made = ann.submit("/account/keys", page="/account", name="CI", days="30")
    key = re.search(r"mak_[\w-]+", made.text)
    assert key is not None
    assert key[0] not in ann.get("/account").text
    assert portal.api.get("/me", key=key[0]).json["name"] == "ann"
    ann.submit(f"/account/keys/{key[0].split('_')[1]}/revoke", page="/account")
    assert portal.api.get("/me", key=key[0]).status_code == 401
    assert (
        "one of the times offered"
        in ann.get(ann.submit("/account/keys", page="/account", name="CI", days="9999").headers["Location"]).text
    )
    assert ApiKey.select().where(ApiKey.name == "CI").count() == 1


def test_a_new_password_ends_every_session_and_the_old_one_opens_nothing(portal):
    here, elsewhere = portal.signed_in("pat", "viewer"), portal.signed_in("pat")
    page = "/account/password"
    differ = here.submit(page, page=page, password="one two three four", again="another one")
    assert (differ.status_code, "not the same" in differ.text) == (400, True) or "not the same" in differ.text
    assert "guessed" in here.submit(page, page=page, password="password12345", again="password12345").text
    fresh = "seven quiet herons wading"
    assert here.submit(page, page=page, password=fresh, again=fresh).status_code == 303
    for visitor in (here, elsewhere):
        assert visitor.get("/account").headers["Location"].startswith("/login")
    assert portal.visitor().sign_in("pat").status_code == 401
    assert portal.visitor().sign_in("pat", fresh).status_code == 303


def test_one_of_several_sessions_can_be_ended(portal):
    here, elsewhere = portal.signed_in("sam", "viewer"), portal.signed_in("sam")
    ends = re.findall(r"/account/sessions/\w+/end", here.get("/account").text)
    assert len(ends) == 1
    here.submit(ends[0])
    assert elsewhere.get("/account").status_code == 303
    assert here.get("/account").status_code == 200


@pytest.mark.parametrize("name", ["browser-form.1.0.0.zip", "browser-form.2.0.0.zip"])
def test_a_package_comes_in_by_the_plain_form(portal, ann, name):
    token = ann.token("/packages")
    content = zip_of(index=name.encode() * 5000)
    fields = {"csrf_token": token, "file": (io.BytesIO(content), name)}
    answer = ann.client.post(
        "/packages/upload",
        data=fields,
        base_url=ORIGIN,
        headers={"Sec-Fetch-Site": "same-origin"},
        content_type="multipart/form-data",
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/packages?id=browser-form")
    assert name.split(".", 1)[1].removesuffix(".zip") in ann.get("/packages?id=browser-form").text


def test_a_package_that_is_none_is_refused_in_words(portal, ann):
    fields = {"csrf_token": ann.token("/packages"), "file": (io.BytesIO(b"no zip at all"), "wrong.1.0.0.zip")}
    answer = ann.client.post(
        "/packages/upload", data=fields, base_url=ORIGIN, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.headers["Location"] == "/packages"
    assert 'class="notice bad"' in ann.get("/packages").text
    assert not Package.select().where(Package.name == "wrong").exists()


def test_a_version_is_deleted_unless_a_release_names_it(portal, ann):
    ann.submit("/packages/storefront/1.0.0/delete", page="/packages?id=storefront")
    kept = ann.get("/packages?id=storefront").text
    assert 'class="notice bad"' in kept
    assert portal.api.push("spare.1.0.0.zip").status_code == 201
    ann.submit("/packages/spare/1.0.0/delete", page="/packages?id=spare")
    assert portal.api.get("/packages/spare/versions/1.0.0").status_code == 404


def test_a_script_of_the_page_may_change_things_with_the_token_in_its_header(portal, ann):
    client, content = ann.client, zip_of(index=b"by script")
    address = "/api/v1/packages?name=by-script.1.0.0.zip"
    headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/octet-stream"}
    refused = client.post(address, data=content, base_url=ORIGIN, headers=headers)
    assert (refused.status_code, refused.json["code"]) == (403, "CSRF")
    headers["X-CSRF-Token"] = ann.token()
    foreign = client.post(address, data=content, base_url=ORIGIN, headers=headers | {"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert client.post(address, data=content, base_url=ORIGIN, headers=headers).status_code == 201


def test_a_target_is_disabled_with_its_reason_enabled_and_checked(portal, ann):
    ann.submit("/targets/web-1/disable", page="/targets/web-1", reason="new memory")
    assert "new memory" in ann.get("/targets").text
    ann.submit("/targets/web-1/enable", page="/targets/web-1")
    assert "new memory" not in ann.get("/targets").text
    checked = ann.submit("/targets/web-1/check", page="/targets/web-1")
    assert "Check web-1" in ann.get(checked.headers["Location"]).text


def test_who_must_change_the_password_is_sent_there_at_once(portal):
    portal.person("new", "viewer")
    with connection(), write_tx():
        user = User.get(User.name == "new")
        user.must_change = True
        portal.api.installed.seals.seal(user)
        user.save()
    assert portal.visitor().sign_in("new").headers["Location"] == "/account/password"


def test_signing_out_ends_the_session_and_clears_the_browser(portal):
    visitor = portal.signed_in("out", "viewer")
    token = visitor.cookie()
    left = visitor.submit("/logout", page="/")
    assert (left.status_code, left.headers["Location"]) == (303, "/login")
    assert visitor.cookie() == ""
    visitor.client.set_cookie("__Host-manyarm", token, domain="hub.example", secure=True)
    assert visitor.get("/").status_code == 303
    assert login.COOKIE_AGE_S == 12 * 3600
