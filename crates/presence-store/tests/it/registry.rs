//! What every registry does. Each case runs in memory, in a file and in PostgreSQL; of these two, a second reader must see
//! the same in the end.

use presence_store::{
    Caller, CreateAccountError, CreateInstanceError, Edge, EdgeMismatch, NewInstance, SecretText,
};
use presence_store::{PinEdgeError, Registry, Token};

use crate::support::{account, instance, new_instance, now, parsed, view};

macro_rules! for_every_registry {
    ($($case:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&presence_store::Store::in_memory().unwrap()).await;
            })*
        }

        mod in_a_file {
            use crate::support::{data_dir, open, view};

            $(#[tokio::test]
            async fn $case() {
                let (_temporary, dir) = data_dir();
                let store = open(&dir).await;
                super::$case(&store).await;
                assert_eq!(view(&open(&dir).await), view(&store));
            })*
        }

        #[cfg(feature = "postgres-tests")]
        mod in_postgres {
            use crate::postgres::TestDatabase;
            use crate::support::view;

            $(#[tokio::test]
            async fn $case() {
                let database = TestDatabase::create().await;
                let store = database.registry().await;
                super::$case(&store).await;
                assert_eq!(view(&database.registry().await), view(&store));
            })*
        }
    };
}

for_every_registry! {
    a_new_registry_is_empty
    an_account_is_known_by_its_token
    account_names_are_unique
    a_rotated_token_replaces_the_old_one
    a_deleted_account_takes_its_instances_along
    an_instance_is_known_by_its_token
    an_own_token_is_taken_as_it_is
    names_are_scoped_to_the_account
    a_token_in_use_anywhere_is_refused
    a_quota_counts_what_is_there
    the_first_fault_is_reported
    settings_are_kept
    a_proxy_is_kept_and_given_up
    a_webhook_is_kept_through_changes_of_the_account_and_given_up
    a_deleted_instance_is_gone_and_its_name_and_token_free
    numbers_are_never_given_again
    instances_are_listed_by_age
    what_is_not_there_is_no_error
    an_edge_is_pinned_once
    every_change_is_counted
    no_text_but_a_token_is_anybody
    a_ban_is_kept
    use_is_kept_and_counts_as_no_change
    what_was_deleted_is_remembered_until_it_is_wiped
    what_changed_is_told_by_instance
    a_registry_that_works_is_well
    debug_shows_no_secret
}

async fn a_new_registry_is_empty(registry: &dyn Registry) {
    assert!(registry.accounts().is_empty());
    assert!(registry.all_instances().is_empty());
    assert_eq!(registry.edge(), None);
    registry.refresh().await.unwrap();
}

async fn an_account_is_known_by_its_token(registry: &dyn Registry) {
    let (acme, token) = account(registry, "acme", Some(3)).await;
    assert_eq!((acme.name.as_str(), acme.quota), ("acme", Some(3)));
    assert_eq!(
        acme.created_at.timestamp_subsec_nanos(),
        123_000_000,
        "whole milliseconds"
    );
    let caller = registry.authenticate(token.expose());
    assert!(
        matches!(caller, Some(Caller::Account(id)) if id == acme.id),
        "{caller:?}"
    );
    assert_eq!(registry.account(acme.id).unwrap().name, acme.name);
    assert_eq!(registry.account_named("acme").unwrap().id, acme.id);
    assert!(registry.account_named("ACME").is_none());
}

async fn account_names_are_unique(registry: &dyn Registry) {
    let (_, token) = account(registry, "acme", None).await;
    let again = registry.create_account(parsed("acme"), None, now()).await;
    assert!(matches!(again, Err(CreateAccountError::NameTaken)));
    account(registry, "Acme", None).await;
    assert_eq!(registry.accounts().len(), 2);
    assert!(registry.authenticate(token.expose()).is_some());
}

async fn a_rotated_token_replaces_the_old_one(registry: &dyn Registry) {
    let (acme, old) = account(registry, "acme", Some(3)).await;
    let (_, of_instance) = instance(registry, &acme, "one").await;
    let new = registry.rotate_account(acme.id).await.unwrap().unwrap();
    assert!(registry.authenticate(old.expose()).is_none());
    assert!(matches!(registry.authenticate(new.expose()), Some(Caller::Account(id)) if id == acme.id));
    assert!(registry.authenticate(of_instance.expose()).is_some());
    assert_eq!(
        format!("{:?}", registry.account(acme.id).unwrap()),
        format!("{acme:?}")
    );
}

async fn a_deleted_account_takes_its_instances_along(registry: &dyn Registry) {
    let (acme, acme_token) = account(registry, "acme", None).await;
    let (other, other_token) = account(registry, "other", None).await;
    let (one, one_token) = instance(registry, &acme, "one").await;
    let (_, kept) = instance(registry, &other, "one").await;
    assert!(registry.delete_account(acme.id).await.unwrap());
    assert!(registry.account(acme.id).is_none());
    assert!(registry.instance_by_id(one.id).is_none());
    assert!(registry.instance(acme.id, "one").is_none());
    for void in [acme_token, one_token] {
        assert!(registry.authenticate(void.expose()).is_none());
    }
    for valid in [other_token, kept] {
        assert!(registry.authenticate(valid.expose()).is_some());
    }
    let refused = registry.create_instance(acme.id, new_instance("two")).await;
    assert!(matches!(refused, Err(CreateInstanceError::NoAccount)));
    assert!(account(registry, "acme", None).await.0.id > other.id);
}

async fn an_instance_is_known_by_its_token(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (one, token) = instance(registry, &acme, "one").await;
    assert_eq!((one.name.as_str(), one.account), ("one", acme.id));
    assert_eq!((one.keep_online, one.logged_out), (false, false));
    assert_eq!(one.created_at.timestamp_subsec_nanos(), 123_000_000);
    let caller = registry.authenticate(token.expose());
    assert!(
        matches!(&caller, Some(Caller::Instance(found)) if found.id == one.id),
        "{caller:?}"
    );
    assert_eq!(registry.instance_token(&one).unwrap(), token);
}

async fn an_own_token_is_taken_as_it_is(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    for (name, own) in [("short", "x".repeat(16)), ("long", "~".repeat(128))] {
        let new = NewInstance {
            token: Some(parsed(&own)),
            ..new_instance(name)
        };
        let (made, token) = registry.create_instance(acme.id, new).await.unwrap();
        assert_eq!(token.expose(), own);
        assert_eq!(registry.instance_token(&made).unwrap().expose(), own);
        assert!(matches!(registry.authenticate(&own), Some(Caller::Instance(found)) if found.id == made.id));
    }
}

async fn names_are_scoped_to_the_account(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (other, _) = account(registry, "other", None).await;
    let (ours, _) = instance(registry, &acme, "one").await;
    let (theirs, _) = instance(registry, &other, "one").await;
    instance(registry, &acme, "ONE").await;
    let again = registry.create_instance(acme.id, new_instance("one")).await;
    assert!(matches!(again, Err(CreateInstanceError::NameTaken)));
    assert_eq!(registry.instance(acme.id, "one").unwrap().id, ours.id);
    assert_eq!(registry.instance(other.id, "one").unwrap().id, theirs.id);
    assert!(registry.instance(other.id, "ONE").is_none());
}

async fn a_token_in_use_anywhere_is_refused(registry: &dyn Registry) {
    let (acme, acme_token) = account(registry, "acme", None).await;
    let (other, other_token) = account(registry, "other", None).await;
    let (_, of_instance) = instance(registry, &other, "one").await;
    for taken in [acme_token, other_token, of_instance] {
        let new = NewInstance {
            token: Some(taken),
            ..new_instance("two")
        };
        let refused = registry.create_instance(acme.id, new).await;
        assert!(matches!(refused, Err(CreateInstanceError::TokenTaken)));
    }
    assert!(registry.instances(acme.id).is_empty());
}

async fn a_quota_counts_what_is_there(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", Some(2)).await;
    let (one, _) = instance(registry, &acme, "one").await;
    instance(registry, &acme, "two").await;
    let refused = registry.create_instance(acme.id, new_instance("three")).await;
    assert!(matches!(refused, Err(CreateInstanceError::QuotaExceeded)));
    registry.delete_instance(one.id).await.unwrap();
    instance(registry, &acme, "three").await;

    let (none, _) = account(registry, "none", Some(0)).await;
    let refused = registry.create_instance(none.id, new_instance("one")).await;
    assert!(matches!(refused, Err(CreateInstanceError::QuotaExceeded)));
}

async fn the_first_fault_is_reported(registry: &dyn Registry) {
    let (acme, taken) = account(registry, "acme", Some(1)).await;
    instance(registry, &acme, "one").await;
    let all_wrong = NewInstance {
        token: Some(taken),
        ..new_instance("one")
    };
    let refused = registry.create_instance(acme.id, all_wrong).await;
    assert!(matches!(refused, Err(CreateInstanceError::TokenTaken)));
    let refused = registry.create_instance(acme.id, new_instance("one")).await;
    assert!(matches!(refused, Err(CreateInstanceError::QuotaExceeded)));
}

async fn settings_are_kept(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (one, token) = instance(registry, &acme, "one").await;
    let settings = || {
        registry
            .instance_by_id(one.id)
            .map(|found| (found.keep_online, found.logged_out))
            .unwrap()
    };
    assert!(registry.set_keep_online(one.id, true).await.unwrap());
    assert_eq!(settings(), (true, false));
    assert!(registry.set_logged_out(one.id, true).await.unwrap());
    assert_eq!(settings(), (true, true));
    assert!(registry.set_keep_online(one.id, false).await.unwrap());
    assert!(registry.set_keep_online(one.id, false).await.unwrap(), "again");
    assert_eq!(settings(), (false, true));
    assert!(
        registry.authenticate(token.expose()).is_some(),
        "logged out or not"
    );
    let kept = registry
        .create_instance(
            acme.id,
            NewInstance {
                keep_online: true,
                ..new_instance("two")
            },
        )
        .await;
    assert!(kept.unwrap().0.keep_online);
}

async fn a_proxy_is_kept_and_given_up(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (one, _) = instance(registry, &acme, "one").await;
    let proxy = |text: &str| SecretText::new(text.to_owned());
    let with_proxy = NewInstance {
        proxy: Some(proxy("of two")),
        ..new_instance("two")
    };
    let (two, _) = registry.create_instance(acme.id, with_proxy).await.unwrap();
    let kept = |id| {
        let instance = registry.instance_by_id(id).unwrap();
        registry.instance_proxy(&instance).unwrap()
    };
    assert_eq!((kept(one.id), kept(two.id)), (None, Some(proxy("of two"))));
    for text in ["first", "second"] {
        assert!(registry.set_proxy(one.id, Some(proxy(text))).await.unwrap());
        assert_eq!(kept(one.id), Some(proxy(text)));
    }
    for _ in 0..2 {
        assert!(registry.set_proxy(one.id, None).await.unwrap());
        assert_eq!(kept(one.id), None);
    }
    assert_eq!(kept(two.id), Some(proxy("of two")));
    registry.delete_instance(two.id).await.unwrap();
    assert!(!registry.set_proxy(two.id, Some(proxy("late"))).await.unwrap());
}

async fn a_webhook_is_kept_through_changes_of_the_account_and_given_up(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (other, _) = account(registry, "other", None).await;
    let webhook = |text: &str| SecretText::new(text.to_owned());
    let kept = |id| {
        let account = registry.account(id).unwrap();
        registry.account_webhook(&account).unwrap()
    };
    assert_eq!(kept(acme.id), None);
    for text in ["first", "second"] {
        assert!(registry.set_webhook(acme.id, Some(webhook(text))).await.unwrap());
        assert_eq!((kept(acme.id), kept(other.id)), (Some(webhook(text)), None));
    }
    registry.rotate_account(acme.id).await.unwrap();
    assert_eq!(kept(acme.id), Some(webhook("second")));
    for _ in 0..2 {
        assert!(registry.set_webhook(acme.id, None).await.unwrap());
        assert_eq!(kept(acme.id), None);
    }
    registry.delete_account(acme.id).await.unwrap();
    assert!(
        !registry
            .set_webhook(acme.id, Some(webhook("late")))
            .await
            .unwrap()
    );
}

async fn a_deleted_instance_is_gone_and_its_name_and_token_free(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (old, token) = instance(registry, &acme, "one").await;
    assert!(registry.delete_instance(old.id).await.unwrap());
    assert!(registry.authenticate(token.expose()).is_none());
    assert!(registry.instance(acme.id, "one").is_none());
    assert!(!registry.delete_instance(old.id).await.unwrap(), "again");
    let new = NewInstance {
        token: Some(token),
        ..new_instance("one")
    };
    let (made, token) = registry.create_instance(acme.id, new).await.unwrap();
    assert!(
        matches!(registry.authenticate(token.expose()), Some(Caller::Instance(found)) if found.id == made.id)
    );
}

async fn numbers_are_never_given_again(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let mut last = 0;
    for _ in 0..3 {
        let (one, _) = instance(registry, &acme, "one").await;
        assert!(one.id.get() > last);
        last = one.id.get();
        registry.delete_instance(one.id).await.unwrap();
    }
}

async fn instances_are_listed_by_age(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (other, _) = account(registry, "other", None).await;
    for (owner, name) in [(&other, "z"), (&acme, "y"), (&other, "a"), (&acme, "b")] {
        instance(registry, owner, name).await;
    }
    let names = |instances: Vec<_>| -> Vec<String> {
        instances
            .iter()
            .map(|listed: &std::sync::Arc<presence_store::Instance>| listed.name.to_string())
            .collect()
    };
    assert_eq!(names(registry.instances(acme.id)), ["y", "b"]);
    assert_eq!(names(registry.instances(other.id)), ["z", "a"]);
    assert_eq!(names(registry.all_instances()), ["z", "y", "a", "b"]);
}

async fn what_is_not_there_is_no_error(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (one, _) = instance(registry, &acme, "one").await;
    assert!(registry.delete_account(acme.id).await.unwrap());
    assert!(!registry.delete_account(acme.id).await.unwrap());
    assert!(registry.rotate_account(acme.id).await.unwrap().is_none());
    assert!(!registry.set_keep_online(one.id, true).await.unwrap());
    assert!(!registry.set_logged_out(one.id, true).await.unwrap());
    assert!(!registry.delete_instance(one.id).await.unwrap());
    assert!(registry.instances(acme.id).is_empty());
}

async fn an_edge_is_pinned_once(registry: &dyn Registry) {
    registry.pin_edge(Edge::Sandbox).await.unwrap();
    registry.pin_edge(Edge::Sandbox).await.unwrap();
    assert_eq!(registry.edge(), Some(Edge::Sandbox));
    let refused = registry.pin_edge(Edge::WhatsApp).await;
    let mismatch = EdgeMismatch {
        pinned: Edge::Sandbox,
        wanted: Edge::WhatsApp,
    };
    assert!(matches!(refused, Err(PinEdgeError::Mismatch(found)) if found == mismatch));
    assert_eq!(Edge::WhatsApp.check(registry.edge()), Err(mismatch));
    assert_eq!(Edge::Sandbox.check(registry.edge()), Ok(()));
    assert_eq!(Edge::WhatsApp.check(None), Ok(()));
}

async fn every_change_is_counted(registry: &dyn Registry) {
    let mut changes = registry.changes();
    let (acme, _) = account(registry, "acme", None).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let before = view(registry);
    registry.refresh().await.unwrap();
    registry
        .create_account(parsed("acme"), None, now())
        .await
        .unwrap_err();
    assert!(!changes.has_changed().unwrap(), "nothing changed");
    assert_eq!(view(registry), before);
    registry.delete_account(acme.id).await.unwrap();
    assert!(changes.has_changed().unwrap());
}

async fn no_text_but_a_token_is_anybody(registry: &dyn Registry) {
    let (acme, token) = account(registry, "acme", None).await;
    instance(registry, &acme, "one").await;
    let token: &str = token.expose();
    let half = &token[..token.len() / 2];
    let endless = "x".repeat(Token::MAX_LENGTH + 1);
    let around = [
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\0"),
        token.to_uppercase(),
    ];
    for stranger in [
        "",
        " ",
        "acme",
        "one",
        half,
        &endless,
        "ключ",
        "\u{0}",
        "' OR 1=1 --",
    ] {
        assert!(registry.authenticate(stranger).is_none(), "{stranger:?}");
    }
    for stranger in around {
        assert!(registry.authenticate(&stranger).is_none());
    }
}

async fn a_ban_is_kept(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (one, _) = instance(registry, &acme, "one").await;
    let banned_until = || registry.instance_by_id(one.id).unwrap().banned_until;
    assert_eq!(banned_until(), None);
    assert!(registry.set_banned_until(one.id, Some(now())).await.unwrap());
    let until = banned_until().unwrap();
    assert_eq!(until.timestamp_millis(), now().timestamp_millis());
    assert_eq!(until.timestamp_subsec_nanos(), 123_000_000, "whole milliseconds");
    let seen = *registry.changes().borrow();
    assert!(registry.set_banned_until(one.id, Some(now())).await.unwrap());
    assert_eq!(*registry.changes().borrow(), seen, "the same again");
    let (two, _) = instance(registry, &acme, "two").await;
    assert!(registry.set_banned_until(two.id, Some(now())).await.unwrap());
    assert!(registry.set_banned_until(two.id, None).await.unwrap());
    assert_eq!(registry.instance_by_id(two.id).unwrap().banned_until, None);
    registry.delete_instance(two.id).await.unwrap();
    assert!(!registry.set_banned_until(two.id, None).await.unwrap());
}

async fn use_is_kept_and_counts_as_no_change(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (one, token) = instance(registry, &acme, "one").await;
    let (two, _) = instance(registry, &acme, "two").await;
    let (gone, _) = instance(registry, &acme, "gone").await;
    registry.delete_instance(gone.id).await.unwrap();
    let changes = registry.changes();
    let later = now() + chrono::TimeDelta::seconds(1);
    registry
        .touch(&[(one.id, now()), (gone.id, now())])
        .await
        .unwrap();
    registry.touch(&[(two.id, now()), (one.id, later)]).await.unwrap();
    registry.touch(&[(gone.id, later)]).await.unwrap();
    registry.touch(&[]).await.unwrap();
    let last_used = |id| registry.instance_by_id(id).unwrap().last_used;
    let millis = |time: chrono::DateTime<chrono::Utc>| time.timestamp_millis();
    assert_eq!(last_used(one.id).map(millis), Some(millis(later)));
    assert_eq!(last_used(two.id).map(millis), Some(millis(now())));
    assert_eq!(last_used(one.id).unwrap().timestamp_subsec_nanos(), 123_000_000);
    assert!(!changes.has_changed().unwrap());
    // What is changed after it leaves it as it is.
    registry.set_keep_online(one.id, true).await.unwrap();
    assert_eq!(last_used(one.id).map(millis), Some(millis(later)));
    let caller = registry.authenticate(token.expose());
    assert!(matches!(caller, Some(Caller::Instance(found)) if found.last_used.is_some()));
}

async fn what_was_deleted_is_remembered_until_it_is_wiped(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let (other, _) = account(registry, "other", None).await;
    let (one, _) = instance(registry, &acme, "one").await;
    let (two, _) = instance(registry, &other, "two").await;
    let (three, _) = instance(registry, &other, "three").await;
    let (kept, _) = instance(registry, &acme, "kept").await;
    assert!(registry.deleted_unwiped().is_empty());
    registry.delete_account(other.id).await.unwrap();
    registry.delete_instance(one.id).await.unwrap();
    assert_eq!(registry.deleted_unwiped(), [one.id, two.id, three.id]);
    registry.mark_wiped(&[two.id, kept.id]).await.unwrap();
    registry.mark_wiped(&[two.id]).await.unwrap();
    assert_eq!(registry.deleted_unwiped(), [one.id, three.id]);
    registry.mark_wiped(&[one.id, three.id]).await.unwrap();
    registry.delete_instance(kept.id).await.unwrap();
    assert_eq!(registry.deleted_unwiped(), [kept.id]);
}

async fn what_changed_is_told_by_instance(registry: &dyn Registry) {
    let count = || *registry.changes().borrow();
    let since = |count| {
        let touched = registry.changed_since(count).expect("it is not long ago");
        touched.into_iter().collect::<Vec<_>>()
    };
    let (acme, _) = account(registry, "acme", None).await;
    assert!(since(0).is_empty());
    let (one, _) = instance(registry, &acme, "one").await;
    let (two, _) = instance(registry, &acme, "two").await;
    assert_eq!(since(0), [one.id, two.id]);
    let before = count();
    registry.set_keep_online(two.id, true).await.unwrap();
    assert_eq!(since(before), [two.id]);
    let before = count();
    registry.rotate_account(acme.id).await.unwrap();
    assert_eq!(count(), before + 1);
    assert!(since(before).is_empty());
    registry.delete_account(acme.id).await.unwrap();
    assert_eq!(since(before), [one.id, two.id]);
    assert!(since(count()).is_empty());
}

async fn a_registry_that_works_is_well(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", None).await;
    let changes = registry.changes();
    for _ in 0..3 {
        registry.check().await.unwrap();
    }
    assert!(!changes.has_changed().unwrap());
    instance(registry, &acme, "one").await;
}

async fn debug_shows_no_secret(registry: &dyn Registry) {
    let (acme, _) = account(registry, "acme", Some(3)).await;
    let (one, _) = instance(registry, &acme, "one").await;
    registry.set_banned_until(one.id, Some(now())).await.unwrap();
    let one = registry.instance_by_id(one.id).unwrap();
    let time = "2026-09-21T14:13:20.123Z";
    let name = |name| format!("{:?}", parsed::<presence_store::InstanceName>(name));
    assert_eq!(
        format!("{acme:?}"),
        format!(
            "Account {{ id: {:?}, name: {:?}, quota: Some(3), created_at: {time}, webhook: false, .. }}",
            acme.id, acme.name
        )
    );
    assert_eq!(
        format!("{one:?}"),
        format!(
            "Instance {{ id: {:?}, account: {:?}, name: {}, keep_online: false, logged_out: false, \
             banned_until: Some({time}), last_used: None, created_at: {time}, \
             proxy: false, .. }}",
            one.id,
            acme.id,
            name("one")
        )
    );
    assert_eq!(
        (acme.id.to_string(), one.id.to_string()),
        ("1".to_owned(), "1".to_owned())
    );
    assert_eq!(
        (acme.name.to_string(), one.name.to_string()),
        ("acme".to_owned(), "one".to_owned())
    );
}
